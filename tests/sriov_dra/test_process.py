"""The driver as the node runs it: published, registered, prepared, unprepared."""

import asyncio
import json
import pathlib
import re
import shutil
import ssl
from typing import Any

import pytest

from sriov.daemon import http_address
from tests.deviceplugin import loops
from tests.sriov.daemon import clients
from tests.sriov_agent import processes as agents
from tests.sriov_dra import kubelet, processes
from tests.sriov_dra.claims import claims
from tests.sriov_dra.processes import NAMES, VFS, Node, on_node


@pytest.mark.parametrize("versions", [kubelet.NEW, kubelet.OLD])
def test_a_claim_from_its_allocation_to_its_end(tmp_path: pathlib.Path, versions: tuple[str, ...]) -> None:
    async def body(node: Node) -> None:
        assert node.published() == NAMES
        assert {each["spec"]["pool"]["name"] for each in node.api.slices} == {claims.POOL}
        assert list(node.kubelet.registered) == ["sriov-underlay"]
        wanted = await node.claim(configs=[claims.config(claims.parameters(vlan=5, interface="net1"))])
        names = await node.kubelet.prepare("pod-uid", wanted)
        assert names == {"vf": ["sriov-underlay/claim=claim-uid-vf"]}
        assert node.specs()["sriov-underlay/claim=claim-uid-vf"]["env"][0] == "PCIDEVICE_INTEL_COM_RAIL_A=0000:01:10.0"
        [grant] = node.grants.all()
        assert (grant.uid, [pod.uid for pod in grant.pods], grant.devices[0].id) == ("claim-uid", ["pod-uid"], VFS[0])
        assert (grant.devices[0].interface, grant.devices[0].network["vlan"]) == ("net1", 5)
        [mount] = node.specs()["sriov-underlay/claim=claim-uid-vf"]["mounts"]
        assert json.loads(pathlib.Path(mount["hostPath"]).read_text().splitlines()[0])["kind"] == "DeviceMetadata"
        node.hold(VFS[0])
        assert "0000:01:10.0 of claim ml/rails is not home yet" in await node.kubelet.unprepare(*wanted, "claim-uid")
        assert node.grants.all() == [grant]
        node.book.remove(VFS[0])
        await node.api.delete(node.api.objects["ResourceClaim", *wanted])
        assert await node.kubelet.unprepare(*wanted, "claim-uid") == ""
        assert (node.grants.all(), node.specs(), pathlib.Path(mount["hostPath"]).exists()) == ([], {}, False)
        assert await node.kubelet.unprepare(*wanted, "claim-uid") == "", "an unknown claim is unprepared"
        assert len([path for path, what, _ in node.api.asked if what == "GET" and "resourceclaims" in path]) == 1

    on_node(tmp_path, body, versions=versions)


def test_all_claims_of_a_pod_are_prepared_in_one_call_and_one_that_is_refused_keeps_none_from_it(
    tmp_path: pathlib.Path,
) -> None:
    async def body(node: Node) -> None:
        first = await node.claim(claims.result(NAMES[0]), uid="u1", name="first")
        second = await node.claim(claims.result("gone"), uid="u2", name="second")
        third = await node.claim(claims.result(NAMES[2], "other"), uid="u3", name="third")
        with pytest.raises(kubelet.RefusedError, match=r"pool 'worker-1/intel\.com/rail-a' has no device 'gone'"):
            await node.kubelet.prepare("pod-uid", first, second, third)
        assert {each.uid for each in node.grants.all()} == {"u1", "u3"}
        assert node.kubelet.prepared["u3"] == {"other": ["sriov-underlay/claim=u3-other"]}
        assert await node.kubelet.unprepare(*first, "u1") == ""
        assert {each.uid for each in node.grants.all()} == {"u3"}, "dra-driver-sriov drops all of the pod's"
        assert list(node.specs()) == ["sriov-underlay/claim=u3-other"]

    on_node(tmp_path, body)


async def refused(node: Node, text: str, *results: Any, **other: Any) -> None:
    """The claim is refused, and nothing is left of it."""
    before = (node.grants.all(), node.specs())
    wanted = await node.claim(*results, **other)
    with pytest.raises(kubelet.RefusedError) as caught:
        await node.kubelet.prepare("pod-uid", wanted)
    assert text in str(caught.value)
    assert (node.grants.all(), node.specs()) == before


def test_what_is_not_free_or_not_right_is_refused_with_the_reason(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        granted = await node.claim(claims.result(NAMES[0]), uid="first-uid", name="first")
        await node.kubelet.prepare("pod-uid", granted)
        await refused(node, "0000:01:10.0 is granted to claim ml/first; it is free once the kubelet has unprepared")
        node.hold(VFS[1])
        await refused(node, f"{VFS[1]} is held by container c1 as net1, which has it by no claim", of(NAMES[1]))
        node.book.remove(VFS[1])
        node.hold(VFS[1], "the kernel refused to move link 7")
        await refused(node, "could not be taken back: the kernel refused to move link 7", of(NAMES[1]))
        node.book.remove(VFS[1])
        bad = [claims.config(claims.parameters(vlan=5000))]
        await refused(node, "request 'vf': VfNetwork: vlan id 5000 invalid", of(NAMES[1]), configs=bad)
        both = [of(NAMES[1], "a"), of(NAMES[2], "b")]
        named = [claims.config(claims.parameters(interface="net1"))]
        await refused(node, "two VFs of the claim have the interface name 'net1'", *both, configs=named)
        await refused(node, "this node has no pool 'elsewhere'", of(NAMES[1], pool="elsewhere"))
        (node.sys.tree.pci(processes.PF) / "virtfn0").unlink()
        await refused(node, f"{VFS[1]} cannot be given: it is about to go: its PF is losing", of(NAMES[1]))

    on_node(tmp_path, body)


def of(device: str, request: str = "vf", **other: Any) -> Any:
    return claims.result(device, request, **other)


def test_a_claim_that_pods_share_is_refused_with_the_reason(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        wanted = await node.claim()
        told = node.api.objects["ResourceClaim", *wanted]
        told["status"]["reservedFor"].append({"resource": "pods", "name": "train-1", "uid": "other-uid"})
        with pytest.raises(kubelet.RefusedError) as caught:
            await node.kubelet.prepare("pod-uid", wanted)
        assert "the claim is shared by 2 pods (train-0, train-1), and a VF can be in one pod only" in str(caught.value)

    on_node(tmp_path, body)


def test_a_pod_that_comes_later_to_a_prepared_claim_takes_it_from_nobody(tmp_path: pathlib.Path) -> None:
    """The kubelet prepares nothing for it, so the grant is the first pod's, also after the kubelet's restart."""

    async def body(node: Node) -> None:
        wanted = await node.claim()
        await node.kubelet.prepare("pod-uid", wanted)
        told = node.api.objects["ResourceClaim", *wanted]
        told["status"]["reservedFor"].insert(0, {"resource": "pods", "name": "train-1", "uid": "other-uid"})
        await node.kubelet.prepare("other-uid", wanted)
        await node.kubelet.restart()
        await node.kubelet.until_registered()
        await node.kubelet.prepare("pod-uid", wanted)
        [grant] = node.grants.all()
        assert [pod.uid for pod in grant.pods] == ["pod-uid"]

    on_node(tmp_path, body)


def test_a_claim_that_was_made_again_under_its_name_is_not_prepared_for_the_former_one(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        wanted = await node.claim(uid="new-uid")
        request = node.kubelet._pb.NodePrepareResourcesRequest  # type: ignore[union-attr]
        claim = node.kubelet._reference({"namespace": "ml", "name": "rails", "uid": "old-uid"})
        answer = await node.kubelet._stub.NodePrepareResources(request(claims=[claim]))
        assert "there is another of its name, new-uid" in answer.claims["old-uid"].error
        await node.api.delete(node.api.objects["ResourceClaim", *wanted])
        answer = await node.kubelet._stub.NodePrepareResources(request(claims=[claim]))
        assert "the API server answers 404" in answer.claims["old-uid"].error
        assert (node.grants.all(), node.specs()) == ([], {})

    on_node(tmp_path, body)


def test_a_kubelet_that_restarts_has_its_slices_and_its_claims_again(tmp_path: pathlib.Path) -> None:
    """Within a second; the pod runs, and its VF is in it. dra-driver-sriov writes no CDI file the second time."""

    async def body(node: Node) -> None:
        wanted = await node.claim()
        names = await node.kubelet.prepare("pod-uid", wanted)
        node.hold(VFS[0])
        specs, grants = node.specs(), node.grants.all()
        for path in (node.root / "cdi").iterdir():
            path.unlink()  # as after a reboot: the folder is on tmpfs
        await node.kubelet.restart()
        await loops.until(lambda: node.published() == NAMES, 1.0)
        await node.kubelet.until_registered()
        assert await node.kubelet.prepare("pod-uid", wanted) == names
        assert (node.specs(), node.grants.all()) == (specs, grants)

    on_node(tmp_path, body)


def test_after_a_reboot_a_pod_that_comes_back_is_prepared_again(tmp_path: pathlib.Path) -> None:
    """Gone are the run directory and the CDI specs; the plugin's folder with the metadata is on a disk."""

    async def body(node: Node) -> None:
        wanted = await node.claim()
        await node.kubelet.prepare("pod-uid", wanted)
        specs = node.specs()
        for folder in ("cdi", "run"):
            shutil.rmtree(node.root / folder)
        node.book.create()
        node.grants.create()
        await node.kubelet.restart()
        await node.kubelet.until_registered()
        await node.kubelet.prepare("pod-uid", wanted)
        assert node.specs() == specs

    on_node(tmp_path, body)


def test_a_pf_that_goes_down_taints_its_vfs_and_is_told_to_the_kubelet(tmp_path: pathlib.Path) -> None:
    """Sooner than the kubelet's patience; a claim that is there already is prepared all the same."""

    async def body(node: Node) -> None:
        await loops.until(lambda: set(node.kubelet.health.values()) == {(1, "")})
        node.sys.set_attribute(processes.PF, "net/enp1s0/carrier", 0)
        await loops.until(lambda: node.published() == [f"{name}:sriov-underlay/link-down" for name in NAMES])
        told = {(2, "it has its PF enp1s0 without carrier")}
        await loops.until(lambda: set(node.kubelet.health.values()) == told)
        await node.kubelet.prepare("pod-uid", await node.claim())
        node.sys.set_attribute(processes.PF, "net/enp1s0/carrier", 1)
        await loops.until(lambda: node.published() == NAMES)
        assert {each["spec"]["pool"]["generation"] for each in node.api.slices} == {1}

    on_node(tmp_path, body)


def test_a_cluster_whose_server_drops_taints_is_not_told_of_ailing_vfs(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        node.api.knows_taints = False
        node.sys.set_driver(VFS[0], None)
        await loops.until(lambda: node.published() == NAMES[1:])
        assert "the API server knows no taints of devices" in node.log
        writes = len(node.api.writes)
        await asyncio.sleep(1)
        assert len(node.api.writes) == writes

    on_node(tmp_path, body, "--resync-interval=0.2")


def test_pods_that_come_and_go_write_nothing_to_the_server(tmp_path: pathlib.Path) -> None:
    """dra-driver-sriov writes a claim's status inside its prepare."""

    async def body(node: Node) -> None:
        writes = list(node.api.writes)
        for _ in range(3):
            wanted = await node.claim()
            await node.kubelet.prepare("pod-uid", wanted)
            node.hold(VFS[0])
            node.sys.set_netdev(VFS[0])
            await asyncio.sleep(0.5)
            node.book.remove(VFS[0])
            await node.kubelet.unprepare(*wanted, "claim-uid")
        assert node.api.writes == writes
        assert {what for path, what, _ in node.api.asked if "resourceclaims" in path} == {"GET"}

    on_node(tmp_path, body, "--resync-interval=0.1")


def test_slices_that_somebody_changes_or_deletes_are_put_right(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        [kept] = node.api.slices
        foreign = json.loads(json.dumps(kept))
        foreign["spec"]["devices"] = foreign["spec"]["devices"][:1]
        await node.api.put(foreign)
        await loops.until(lambda: node.published() == NAMES)
        await node.api.wipe(claims.NODE)
        await loops.until(lambda: node.published() == NAMES)
        node.api.forget()
        node.api.cut()
        await node.api.wipe(claims.NODE)
        await loops.until(lambda: node.published() == NAMES, 15)

    on_node(tmp_path, body)


def test_a_new_configuration_publishes_and_withdraws(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        one = {"resourceName": "one", "publish": "dra", "selectors": {"pfNames": ["enp1s0#0-0"]}}
        node.configure(one, *processes.CONFIG)
        await loops.until(lambda: len(node.api.slices) == 2)
        pools = {each["spec"]["pool"]["name"]: each for each in node.api.slices}
        assert [each["name"] for each in pools["worker-1/intel.com/one"]["spec"]["devices"]] == NAMES[:1]
        node.configure(one)
        await loops.until(lambda: node.published() == NAMES[:1])
        node.configure({"resourceName": "-"})
        await loops.until(lambda: "config.json is invalid; keeping" in node.log)
        assert node.published() == NAMES[:1]

    on_node(tmp_path, body)


@pytest.mark.parametrize("kept", [True, False])
def test_a_driver_that_starts_again_writes_nothing_and_knows_its_claims(tmp_path: pathlib.Path, kept: bool) -> None:
    """Killed or stopped in good order."""

    async def whole() -> None:
        node = Node(tmp_path)
        await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
        async with node.api.serving() as port, node.kubelet.running():
            async with node.driver(port) as process:
                await node.kubelet.until_registered()
                await loops.until(lambda: node.published() == NAMES, 15)
                wanted = await node.claim()
                await node.kubelet.prepare("pod-uid", wanted)
                process.kill() if kept else process.terminate()
                assert await process.wait() in (-9, 0)
            (tmp_path / "cdi/sriov-underlay-claim-forgotten.json").write_text("{}")
            specs, writes, node.kubelet._stub = node.specs, list(node.api.writes), None
            async with node.driver(port):
                await node.kubelet.until_registered()
                await loops.until(lambda: node.log.count("published worker-1/intel.com/rail-a with 3 devices") == 2, 15)
                assert node.api.writes == writes
                assert list(specs()) == ["sriov-underlay/claim=claim-uid-vf"], "what no claim has is swept"
                other = await node.claim(name="other", uid="other-uid")
                with pytest.raises(kubelet.RefusedError, match="is granted to claim ml/rails"):
                    await node.kubelet.prepare("pod-uid", other)
                assert await node.kubelet.unprepare(*wanted, "claim-uid") == ""
                assert node.specs() == {}

    loops.run(whole(), 90)


def test_both_drivers_of_an_update_have_sockets_of_their_own(folder: pathlib.Path) -> None:
    async def whole() -> None:
        node = Node(folder)
        await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
        async with (
            node.api.serving() as port,
            node.kubelet.running(),
            node.driver(port, "--pod-uid=old") as old,
        ):
            await node.kubelet.until_registered()
            wanted = await node.claim()
            await node.kubelet.prepare("pod-uid", wanted)
            node.kubelet._stub = None
            async with node.driver(port, "--pod-uid=new"):
                await node.kubelet.until_registered()
                names = {path.name for path in (folder / "k/plugins/sriov-underlay").glob("*.sock")}
                assert names == {"dra-old.sock", "dra-new.sock"}
                old.terminate()
                assert await old.wait() == 0
                assert [path.name for path in node.kubelet.plugins.iterdir()] == ["sriov-underlay-new-reg.sock"]
                assert await node.kubelet.unprepare(*wanted, "claim-uid") == ""

    loops.run(whole(), 60)


RESTRICTED = """
mount --bind "$1" "$1"
mount -o remount,bind,ro /
shift
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all "$@"
"""


@pytest.mark.root
def test_it_needs_no_capability_a_read_only_root_and_56_mb(tmp_path: pathlib.Path) -> None:
    """As in its pod: by HTTPS and the service account's token."""
    before = ["unshare", "--mount", "--propagation=private", "sh", "-euc", RESTRICTED, "sh", str(tmp_path)]
    (tmp_path / "namespace").write_text("kube-system")
    (tmp_path / "token").write_text("first")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(agents.certificate(tmp_path))

    async def whole() -> None:
        node = Node(tmp_path)
        await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
        node.api.token = "first"  # noqa: S105
        async with (
            node.api.serving(tls=tls) as port,
            node.kubelet.running(),
            node.driver(port, before=before, in_pod=True) as process,
        ):
            await node.kubelet.until_registered()
            wanted = await node.claim()
            await node.kubelet.prepare("pod-uid", wanted)
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            capabilities = {line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapBnd"))}
            assert capabilities == {"0" * 16}
            rollup = pathlib.Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            [proportional] = [int(line.split()[1]) for line in rollup if line.startswith("Pss:")]
            assert proportional * 1024 < 56_000_000
            assert await node.kubelet.unprepare(*wanted, "claim-uid") == ""

    loops.run(whole(), 60)


@pytest.mark.parametrize(
    ("flags", "status", "text"),
    [
        (["--node="], 1, "the node's name is not known; give --node, or set NODE_NAME"),
        (["--driver-name=A/b"], 1, "--driver-name 'A/b' is not a driver's name"),
        (["--pod-uid=../x"], 1, "--pod-uid '../x' is not a UID"),
        (["--config-file=/nowhere"], 1, "/nowhere cannot be read"),
        (["--kubelet-root-dir=/" + "d" * 100], 1, "is too long for a socket: its path holds 107 bytes"),
        (["--kubeconfig=/nowhere"], 1, "/nowhere does not say how to reach the API server"),
        (["--magic"], 2, "unrecognized arguments: --magic"),
    ],
)
def test_what_it_cannot_begin_with_ends_it_with_one_sentence(
    tmp_path: pathlib.Path, flags: list[str], status: int, text: str
) -> None:
    async def whole() -> None:
        node = Node(tmp_path)
        async with node.driver(1, *flags) as process:
            assert await asyncio.wait_for(process.wait(), 20) == status
        assert text in node.log
        assert "Traceback" not in node.log

    loops.run(whole(), 30)


def test_it_is_ready_once_it_is_registered_and_published(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "http.sock")
    page = (processes.ROOT / "docs/metrics.md").read_text()

    async def whole() -> None:
        node = Node(tmp_path)
        await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
        node.api.hangs = True
        async with node.api.serving() as port, node.driver(port, f"--http={where}"):
            await loops.until(where.path.exists, 20)
            code, said = await clients.get(where, "/readyz")
            assert code == 503
            assert "the kubelet has not registered the driver yet" in said
            node.api.hangs = False
            async with node.kubelet.running():
                await node.kubelet.until_registered()
                await node.kubelet.prepare("pod-uid", await node.claim())
                while (await clients.get(where, "/readyz"))[0] != 200:
                    await asyncio.sleep(0.05)
                _, told = await clients.get(where, "/metrics")
        assert 'sriov_dra_claims_total{result="prepared"} 1.0' in told
        assert "sriov_dra_registered 1.0" in told
        named = {line.split("{")[0].split()[0] for line in told.splitlines() if line.startswith("sriov_dra_")}
        assert {each for each in named if not each.endswith("_created")} == set(re.findall(r"`(sriov_dra_\w+)`", page))

    loops.run(whole(), 60)


def test_switched_over_the_vfs_of_old_pods_are_tainted_until_they_are_home(tmp_path: pathlib.Path) -> None:
    """They got them by the device plugin, so there is no grant; what a claim has is not tainted."""

    async def body(node: Node) -> None:
        node.configure({"resourceName": "rail_a"})
        await loops.until(lambda: node.api.slices == [])
        node.hold(VFS[0])
        node.configure(*processes.CONFIG)
        await loops.until(lambda: node.published() == [f"{NAMES[0]}:sriov-underlay/held", *NAMES[1:]])
        await refused(node, f"{VFS[0]} is held by container c1 as net1, which has it by no claim", of(NAMES[0]))
        node.book.remove(VFS[0])
        await loops.until(lambda: node.published() == NAMES)
        await node.kubelet.prepare("pod-uid", await node.claim())

    on_node(tmp_path, body, "--resync-interval=0.2")
