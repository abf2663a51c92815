"""Networks with `claims`: all devices of a pod's claims in one ADD, alone or behind another plugin; or none at all."""

import contextlib
import ipaddress
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from sriov.cluster import policies
from sriov.state import attached_vfs, call_log, claim_attachments, grants
from sriov_cni.context import claims, policy
from sriov_cni.shim import shim, wire
from tests.fakes import bench, pod_resources, policy_source
from tests.kernel import namespaces
from tests.sriov_cni import harness
from tests.sriov_cni.shim import shims

POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME=train-0;K8S_POD_UID=pod-uid"
OTHER = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME=other-0;K8S_POD_UID=other-uid"
LEASES = """
key="$CNI_CONTAINERID-$CNI_IFNAME"; name=$(sed 's/.*"name":"\\{0,1\\} *"\\{0,1\\}\\([^",]*\\).*/\\1/' "$0.stdin")
echo "$CNI_COMMAND $key $name" >> "$0.log"
case $CNI_COMMAND in
ADD) [ "$CNI_IFNAME" != "$(cat "$0.fails" 2>/dev/null)" ] || { echo '{"code": 100, "msg": "no address"}'; exit 1; }
    echo x >> "$0.n"; touch "$0.lease-$key"
    echo "{\\"ips\\": [{\\"address\\": \\"10.$(wc -l < "$0.n").0.5/24\\"}]}" ;;
CHECK) [ -e "$0.lease-$key" ] || { echo '{"code": 101, "msg": "no lease"}'; exit 1; } ;;
DEL) rm -f "$0.lease-$key" ;;
esac
"""
"""An IPAM plugin with leases by container and interface, as host-local has."""
ROUTED = """
[ $CNI_COMMAND = ADD ] || exit 0
n=1$(ls "$0".got* 2>/dev/null | wc -l); touch "$0.got$n"
grep -q routes "$0.stdin" && routes='[{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]' || routes='[]'
echo "{\\"ips\\": [{\\"address\\": \\"10.9.0.$n/16\\"}], \\"routes\\": $routes}"
"""
"""An IPAM plugin that gives a default route where its configuration has routes."""
BEFORE = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "cni0"},
        {"name": "veth1"},
        {"name": "eth0", "sandbox": "/run/netns/x", "mac": "02:00:00:00:00:01"},
    ],
    "ips": [{"address": "10.88.0.2/16", "gateway": "10.88.0.1", "interface": 2}],
    "routes": [{"dst": "0.0.0.0/0"}],
    "dns": {"nameservers": ["10.96.0.10"]},
}


class Node:
    """A node with a daemon that knows claims, and a runtime; `leases` is the folder of the IPAM plugin `host-local`."""

    def __init__(self, made: bench.Bench, client: harness.Client, folder: pathlib.Path) -> None:
        self.bench, self.client, self.folder = made, client, folder
        self.book = grants.Grants(folder / "grants")
        self.attached = claim_attachments.ClaimAttachments(folder / "grants")
        self.book.create()

    def grant(self, *devices: grants.GrantedDevice, name: str = "rails", uid: str = "u1", shared: bool = False) -> None:
        """A claim of the pod, made from a template if it is not `shared`."""
        pods = (grants.GrantedPod("train-0", "pod-uid"),)
        self.book.write(
            grants.ClaimGrant(uid=uid, namespace="ml", name=name, pods=pods, devices=devices, of_one_pod=not shared)
        )

    def device(self, number: int, **other: Any) -> grants.GrantedDevice:
        return grants.GrantedDevice(self.bench.vfs[number], "vf", "node/intel.com/a", "x", **other)

    def call(self, command: str, network: dict[str, object], args: str = POD, **env: str | None) -> harness.Answer:
        return self.client.call(command, network, **{"IFNAME": "eth0", "ARGS": args, **env})

    def held(self) -> dict[str, tuple[str, str]]:
        """What the ledger has: the pod's names by VF, with the call's interface."""
        return {each.pci: (each.owner.ifname, each.owner.within) for each in self.bench.book.records()}

    def leases(self, plugin: str = "host-local") -> set[str]:
        return {path.name.partition(".lease-")[2] for path in (self.folder / "plugins").glob(f"{plugin}.lease-*")}

    def log(self) -> list[str]:
        path = self.folder / "plugins/host-local.log"
        return path.read_text().splitlines() if path.exists() else []


@contextlib.contextmanager
def serving(folder: pathlib.Path, kind: str, **parts: Any) -> Iterator[Node]:
    made = bench.make(folder)
    for plugin in ("host-local", "dhcp"):
        harness.ipam_plugin(folder / "plugins", plugin, LEASES)
    socket = folder / "cni.sock"
    further: dict[str, Any] = {"claims": claims.PodClaims(folder / "grants"), "pod_resources": folder / "kubelet.sock"}
    further |= {"calls_log": call_log.Recent(folder / "grants"), **parts}
    with harness.daemon(made.node, made.book, socket, made.machine.adopt, **further):
        client = harness.Client(socket, str(folder / "plugins"), made.machine.path("pod"), shims.command(kind))
        yield Node(made, client, folder)
    made.pod.close()
    made.machine.close()


@pytest.fixture(params=shims.BOTH)
def node(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Node]:
    with serving(tmp_path, request.param) as made:
        yield made


@pytest.fixture
def native(tmp_path: pathlib.Path) -> Iterator[Node]:
    with serving(tmp_path, "native") as made:
        yield made


def alone(**keys: object) -> dict[str, object]:
    usual = {"cniVersion": "1.1.0", "name": "n1", "type": "sriov", "claims": "alone", "ipam": {"type": "host-local"}}
    return {key: value for key, value in {**usual, **keys}.items() if value is not None}


def chained(**keys: object) -> dict[str, object]:
    return alone(**{"claims": "chained", "prevResult": BEFORE, **keys})


def test_alone_the_first_device_is_the_calls_interface(node: Node) -> None:
    node.grant(node.device(1), node.device(0, interface="rail0"), name="b")
    answer = node.call("ADD", alone())
    assert answer.code == 0, answer
    assert node.held() == {node.bench.vfs[1]: ("eth0", "eth0"), node.bench.vfs[0]: ("rail0", "eth0")}
    found = answer.document
    assert [(each["name"], each["pciID"]) for each in found["interfaces"]] == [
        ("eth0", node.bench.vfs[1]),
        ("rail0", node.bench.vfs[0]),
    ]
    assert found["ips"] == [{"address": f"10.{number}.0.5/24", "interface": number - 1} for number in (1, 2)]
    assert node.leases() == {"c1-eth0", "c1-rail0"}
    assert node.call("CHECK", alone(prevResult=found)).code == 0
    assert node.call("DEL", alone(prevResult=found)).stdout == ""
    assert (node.held(), node.leases(), node.attached.all()) == ({}, set(), [])
    assert node.call("DEL", alone()).code == 0


def test_what_each_device_has_is_noted_for_its_claims_status(native: Node) -> None:
    native.grant(native.device(0), native.device(1))
    assert native.call("ADD", alone()).code == 0
    notes = attached_vfs.AttachedVfs(native.folder / "grants")
    found = [notes.of(record) for record in native.bench.book.records()]
    assert [(each.claim, each.ifname, len(each.addresses)) for each in found if each] == [
        ("u1", "eth0", 1), ("u1", "net1", 1),
    ]  # fmt: skip
    assert native.call("DEL", alone()).code == 0


def test_what_is_no_vf_or_attached_by_others_is_left_alone(native: Node) -> None:
    other = grants.GrantedDevice("mlx5_core.sf.2", "sf", "node/intel.com/b", "y", is_vf=False)
    native.grant(other, native.device(0, unattached="host-device has it"), native.device(1))
    answer = native.call("ADD", alone())
    assert answer.code == 0, answer
    assert native.held() == {native.bench.vfs[1]: ("eth0", "eth0")}
    assert native.call("DEL", alone()).code == 0
    native.grant(other, native.device(0, unattached="host-device has it"))
    assert native.call("ADD", chained()).document == BEFORE


def test_chained_the_devices_come_behind_what_was_there(node: Node) -> None:
    node.grant(node.device(0), name="b")
    node.grant(node.device(1), name="a", uid="u2")
    answer = node.call("ADD", chained())
    assert answer.code == 0, answer
    found = answer.document
    assert found["interfaces"][:3] == BEFORE["interfaces"]
    assert [(each["name"], each["pciID"]) for each in found["interfaces"][3:]] == [
        ("net1", node.bench.vfs[1]),
        ("net2", node.bench.vfs[0]),
    ], "by the claims' names"
    ours = [{"address": f"10.{number}.0.5/24", "interface": number + 2} for number in (1, 2)]
    assert found["ips"] == [BEFORE["ips"][0], *ours]  # type: ignore[index]
    assert (found["routes"], found["dns"], found["cniVersion"]) == (BEFORE["routes"], BEFORE["dns"], "1.1.0")
    assert node.call("CHECK", chained(prevResult=found)).code == 0
    assert node.call("DEL", chained()).code == 0
    assert (node.held(), node.leases(), node.attached.all()) == ({}, set(), [])
    assert not any("c1-eth0" in each for each in node.log()), "that address is another plugin's"


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_the_result_is_of_the_version_that_was_asked_for(native: Node, version: str) -> None:
    native.grant(native.device(0))
    before = {**BEFORE, "cniVersion": version}
    found = native.call("ADD", chained(cniVersion=version, prevResult=before)).document
    assert (found["cniVersion"], set(found["interfaces"][3])) == (version, {"name", "mac", "sandbox"})
    assert found["ips"][1].get("version") == ("4" if version == "0.4.0" else None)


def test_a_pod_without_a_claim_has_what_it_had_to_the_byte(node: Node) -> None:
    node.grant(node.device(0))
    before = '{ "ips":[ ],"interfaces": [{"name":"eth0","x-mine":1}],\n "cniVersion":"1.1.0"}'
    stdin = json.dumps(chained(prevResult="@")).replace('"@"', before).encode()
    answer = node.client.call("ADD", stdin, ARGS=OTHER, IFNAME="eth0")
    assert (answer.code, answer.stdout) == (0, before + "\n"), answer
    for command in ("CHECK", "DEL"):
        answer = node.client.call(command, stdin, ARGS=OTHER, IFNAME="eth0")
        assert (answer.code, answer.stdout) == (0, ""), answer
    assert (node.held(), node.log(), node.attached.all()) == ({}, [], [])


def test_a_pod_without_a_claim_has_it_in_the_version_that_was_asked_for(native: Node) -> None:
    answer = native.call("ADD", chained(cniVersion="1.0.0"), OTHER)
    assert answer.document == {**BEFORE, "cniVersion": "1.0.0"}


def test_pods_without_a_claim_do_not_fill_the_record_of_recent_calls(native: Node) -> None:
    native.grant(native.device(0))
    for command in ("ADD", "DEL"):
        assert native.call(command, chained(), OTHER, CONTAINERID="c2").code == 0
        assert native.call(command, chained()).code == 0
    recent = call_log.Recent(native.folder / "grants")
    assert namespaces.until(lambda: len(recent.read()) >= 2)
    assert [(each.command, each.pod) for each in recent.read()] == [("ADD", "train-0"), ("DEL", "train-0")]


def test_alone_a_pod_without_a_claim_is_refused(native: Node) -> None:
    native.grant(native.device(0))
    answer = native.call("ADD", alone(), OTHER)
    assert answer.code == 11
    assert "pod ml/other-0 (UID other-uid) has no claim that is prepared on this node" in answer.message
    assert "give it a ResourceClaim" in answer.message
    assert native.call("DEL", alone(), OTHER).code == 0


def test_a_pod_that_was_made_again_is_another(native: Node) -> None:
    native.grant(native.device(0))
    assert native.call("ADD", alone(), POD.replace("pod-uid", "new-uid")).code == 11
    assert native.held() == {}


@pytest.mark.parametrize("network", [alone(), chained()])
def test_the_second_pod_of_a_shared_claim_is_refused(native: Node, network: dict[str, object]) -> None:
    """No grant tells of it: the kubelet has the claim prepared for the first alone, and gives the second its files."""
    native.grant(native.device(0), shared=True)
    kubelet = pod_resources.PodResources({}, claims={("ml", "other-0"): ["rails"], ("x", "third-0"): ["rails"]})
    with pod_resources.serving(native.folder / "kubelet.sock", kubelet):
        answer = native.call("ADD", network, OTHER)
        assert answer.code == 11
        assert (
            "pod ml/other-0 shares claim ml/rails with pod train-0, and a VF can be in one pod only" in answer.message
        )
        assert native.call("ADD", chained(), OTHER.replace("other-0", "third-0")).code == 0, "that has no claim"
        assert kubelet.calls == 2
        assert native.call("ADD", chained(), OTHER.replace("ml", "x").replace("other-0", "third-0")).code == 0
        assert native.call("ADD", network).code == 0, "the first one"
        assert (kubelet.calls, len(native.held())) == (2, 1)


def test_a_kubelet_that_is_silent_lets_nobody_pass_who_might_share_a_claim(native: Node) -> None:
    native.grant(native.device(0), shared=True)
    answer = native.call("ADD", chained(), OTHER)
    assert (answer.code, "--pod-resources-socket says where it listens" in answer.message) == (11, True), answer


def test_a_shim_that_knows_no_call_of_its_own_for_a_plugin_ends_it_with_nothing_attached(native: Node) -> None:
    """As one that is older than the daemon: it hangs up."""
    native.grant(native.device(0), native.device(1))
    before = native.bench.machine.snapshot()
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": native.client.netns}
    env |= {"CNI_PATH": native.client.cni_path, "CNI_ARGS": POD}
    with contextlib.closing(shim.connect(os.fsencode(native.client.socket), 5)) as daemon:
        shim.send_call(
            daemon, {key.encode(): value.encode() for key, value in env.items()}, json.dumps(alone()).encode()
        )
        while b"\0\0" not in (request := shim.receive(daemon)[1]):
            assert request == b"ADD\0host-local", "the runtime's own interface, in today's words"
            daemon.sendall(wire.frame(wire.IPAM, b"\0" + b'{"ips": [{"address": "10.1.0.5/24"}]}'))
    assert namespaces.until(lambda: not native.held())
    assert namespaces.until(lambda: native.bench.machine.snapshot() == before)


@pytest.mark.parametrize(
    ("keys", "code", "says"),
    [
        ({"claims": True}, 6, "claims True is no string"),
        ({"claims": "all"}, 2, "claims 'all' is neither"),
        ({"deviceID": "0000:01:10.0"}, 7, "deviceID and claims 'alone' both say"),
        ({"resourceName": "intel.com/a"}, 7, "resourceName and claims 'alone' both say"),
        ({"prevResult": BEFORE}, 7, "another plugin comes before this one"),
        ({"claims": "chained"}, 7, "no plugin comes before this one"),
        ({"claims": "chained", "prevResult": {}}, 7, "no plugin comes before this one"),
        ({"vlan": 5000}, 7, "vlan id 5000 invalid"),
        ({"claims": None}, 7, "VF pci addr is required: the configuration has no deviceID and no resourceName"),
        ({"claims": "chained", "prevResult": {"interfaces": [{"name": "net1", "sandbox": "x"}]}}, 7, "'net1' of a dev"),
    ],
)
def test_what_is_refused_changes_nothing(native: Node, keys: dict[str, object], code: int, says: str) -> None:
    native.grant(native.device(0))
    before = native.bench.machine.snapshot()
    answer = native.call("ADD", alone(**keys))
    assert (answer.code, says in answer.message) == (code, True), answer
    assert (native.bench.machine.snapshot(), native.log(), native.attached.all()) == (before, [], [])


def test_a_call_that_names_no_pod_is_not_passed_through(native: Node) -> None:
    answer = native.call("ADD", chained(), "")
    assert (answer.code, "CNI_ARGS names no pod" in answer.message) == (7, True), answer


def test_a_grant_that_cannot_be_read_lets_nobody_pass(native: Node) -> None:
    (native.folder / "grants/claims/u9.json").write_text("{")
    answer = native.call("ADD", chained(), OTHER)
    assert (answer.code != 0, "the grant" in answer.message) == (True, True), answer


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("rail0", "rail0"), "two devices of the pod have the interface name 'rail0': of claim ml/a and of claim ml/b"),
        (("rail0", "rail1"), "no device of the pod's claims is interface 'eth0', which the runtime asks for"),
        (("eth0", "lan0"), "interface 'lan0' of a device of the pod's claims is there already"),
        (("", "lan0"), "interface 'lan0' of a device of the pod's claims is there already"),
    ],
)
def test_a_name_that_cannot_be_had_changes_nothing(native: Node, names: tuple[str, str], says: str) -> None:
    native.bench.machine.add_link("lan0", native.bench.pod)
    native.grant(native.device(0, interface=names[0]), name="a")
    native.grant(native.device(1, interface=names[1]), name="b", uid="u2")
    before = native.bench.machine.snapshot()
    answer = native.call("ADD", alone())
    assert (answer.code, says in answer.message) == (7, True), answer
    assert (native.bench.machine.snapshot(), native.log()) == (before, [])


def test_a_device_that_cannot_be_attached_undoes_the_others(node: Node) -> None:
    node.grant(node.device(0), node.device(1))
    (node.folder / "plugins/host-local.fails").write_text("net1")
    before = node.bench.machine.snapshot()
    answer = node.call("ADD", alone())
    assert (answer.code, "no address" in answer.message) == (100, True), answer
    assert node.bench.machine.snapshot() == before
    assert (node.held(), node.leases()) == ({}, set())
    assert node.call("DEL", alone()).code == 0
    assert node.attached.all() == []


def test_a_second_add_leaves_the_first_alone(native: Node) -> None:
    native.grant(native.device(0), native.device(1))
    assert native.call("ADD", chained()).code == 0
    before = native.bench.machine.snapshot()
    answer = native.call("ADD", chained())
    assert (answer.code, "interface 'net1' of a device" in answer.message) == (7, True), answer
    assert (native.bench.machine.snapshot(), len(native.held()), native.leases()) == (before, 2, {"c1-net1", "c1-net2"})
    assert native.call("DEL", chained()).code == 0
    assert (native.held(), native.leases()) == ({}, set())


@pytest.mark.parametrize("plugin", ["host-local", "dhcp"])
def test_the_way_home_needs_no_grant_and_no_result(native: Node, plugin: str) -> None:
    native.grant(native.device(0), native.device(1))
    network = chained(ipam={"type": plugin})
    assert native.call("ADD", network).code == 0
    native.book.remove("u1")
    assert native.call("DEL", {**network, "prevResult": None}, "").code == 0
    assert (native.held(), native.leases(plugin), native.attached.all()) == ({}, set(), [])


def test_a_del_whose_configuration_is_another_by_now(native: Node) -> None:
    """As when the operator has changed the network while the pod ran, in either direction."""
    native.grant(native.device(0), native.device(1))
    assert native.call("ADD", alone()).code == 0
    assert native.call("DEL", alone(claims=None)).code == 0
    assert (native.held(), native.leases()) == ({}, set())
    native.book.remove("u1")
    usual = harness.configuration(native.bench.vfs[0], ipam={"type": "host-local"})
    assert native.call("ADD", usual).code == 0
    assert native.call("DEL", alone()).code == 0
    assert (native.held(), native.leases()) == ({}, set())


def test_the_del_of_another_network_does_not_end_it(native: Node) -> None:
    """Multus' interface net1 in the same pod is not ours, which has that name, too."""
    native.grant(native.device(0))
    assert native.call("ADD", chained()).code == 0
    assert native.call("DEL", harness.configuration(native.bench.vfs[0]), IFNAME="net1").code == 0
    assert list(native.held()) == [native.bench.vfs[0]]


def test_an_address_that_cannot_be_given_back_is_tried_again(native: Node) -> None:
    native.grant(native.device(0), native.device(1))
    assert native.call("ADD", alone()).code == 0
    plugin = native.folder / "plugins/host-local"
    plugin.rename(plugin.with_suffix(".away"))
    answer = native.call("DEL", alone())
    assert (answer.code, "not on CNI_PATH" in answer.message) == (7, True), answer
    assert (native.held(), native.leases()) == ({}, {"c1-eth0", "c1-net1"})
    plugin.with_suffix(".away").rename(plugin)
    assert native.call("DEL", alone()).code == 0
    assert (native.leases(), native.attached.all()) == (set(), [])


def test_after_a_reboot_the_addresses_are_given_back_by_the_result(native: Node) -> None:
    native.grant(native.device(0), native.device(1))
    found = native.call("ADD", chained()).document
    for record in native.bench.book.records():
        native.bench.book.remove(record.pci)
    native.attached.remove("c1", "eth0")
    assert native.call("DEL", chained(prevResult=found)).code == 0
    assert native.leases() == set()
    assert not any("c1-eth0" in each for each in native.log()), "that address is another plugin's"


def test_a_damaged_note_is_made_up_for_by_the_records(native: Node) -> None:
    native.grant(native.device(0), native.device(1))
    assert native.call("ADD", chained()).code == 0
    [note] = (native.folder / "grants/claimed").iterdir()
    note.write_text("{")
    assert native.call("DEL", chained()).code == 0
    assert (native.held(), native.leases(), list(note.parent.iterdir())) == ({}, set(), [])


def test_a_container_whose_name_no_file_can_have_is_refused_and_ends_in_peace(native: Node) -> None:
    native.grant(native.device(0))
    before = native.bench.machine.snapshot()
    answer = native.call("ADD", chained(), CONTAINERID="c" * 300)
    assert (answer.code, "File name too long" in answer.message) == (5, True), answer
    assert native.bench.machine.snapshot() == before
    assert native.call("DEL", chained(), CONTAINERID="c" * 300).code == 0


def test_check_looks_at_each(native: Node) -> None:
    native.grant(native.device(0), native.device(1))
    found = native.call("ADD", chained()).document
    [there] = native.bench.machine.netdevs(native.bench.vfs[1])
    lost = there.addresses.pop()
    answer = native.call("CHECK", chained(prevResult=found))
    assert (answer.code, "interface net2 has lost its address 10.2.0.5/24" in answer.message) == (101, True), answer
    there.addresses.append(lost)
    assert native.call("CHECK", chained(prevResult=found)).code == 0
    (native.folder / "plugins/host-local.lease-c1-net1").unlink()
    answer = native.call("CHECK", chained(prevResult=found))
    assert (answer.code, "no lease" in answer.message) == (101, True), answer
    native.attached.remove("c1", "eth0")
    answer = native.call("CHECK", chained(prevResult=found))
    assert (answer.code, "not in the ledger" in answer.message) == (101, True), answer


def test_status_is_that_of_every_network(native: Node) -> None:
    assert native.call("STATUS", alone(claims="chained"), CONTAINERID="", IFNAME="", NETNS="").code == 0
    (native.folder / "plugins/host-local").unlink()
    answer = native.call("STATUS", alone(), CONTAINERID="", IFNAME="", NETNS="")
    assert (answer.code, "not on CNI_PATH" in answer.message) == (7, True), answer


def test_gc_ends_what_is_not_on_the_list_and_keeps_the_others_addresses(native: Node) -> None:
    native.grant(native.device(0), native.device(1))
    assert native.call("ADD", chained()).code == 0
    listed = {"containerID": "c1", "ifname": "eth0"}
    network = alone(claims="chained", **{"cni.dev/valid-attachments": [listed]})
    assert native.call("GC", network, CONTAINERID="", IFNAME="", NETNS="").code == 0
    told = json.loads((native.folder / "plugins/host-local.stdin").read_text())["cni.dev/valid-attachments"]
    assert told == [listed, *({"containerID": "c1", "ifname": name} for name in ("net1", "net2"))]
    assert len(native.held()) == 2
    network["cni.dev/valid-attachments"] = []
    other = {**network, "name": "n2"}
    assert native.call("GC", other, CONTAINERID="", IFNAME="", NETNS="").code == 0
    assert len(native.held()) == 2, "of another network"
    native.bench.machine.destroy("pod")
    assert native.call("GC", network, CONTAINERID="", IFNAME="", NETNS="").code == 0
    assert (native.held(), native.leases(), native.attached.all()) == ({}, set(), [])


def test_a_network_of_the_node_brings_its_own_addresses(native: Node) -> None:
    """By its name, so that a lease is in the place where other pods of that network have theirs."""
    own = {"ipam": {"type": "host-local", "x": 1}, "node_network": "rail-b", "network": {"vlan": 5}}
    native.grant(native.device(0), native.device(1, **own))
    assert native.call("ADD", alone(runtimeConfig={"ips": ["10.0.0.9/24"]})).code == 0
    assert native.bench.vf_state(1).vlan == 5
    stdin = json.loads((native.folder / "plugins/host-local.stdin").read_text())
    assert stdin == {"cniVersion": "1.1.0", "name": "rail-b", "type": "sriov", "ipam": own["ipam"]}
    assert native.call("DEL", alone()).code == 0
    assert (native.held(), native.leases()) == ({}, set())


def test_a_network_of_the_node_without_addresses_has_none(native: Node) -> None:
    native.grant(native.device(0), native.device(1, ipam={}, node_network="rail-b"))
    found = native.call("ADD", alone()).document
    assert [each["interface"] for each in found["ips"]] == [0]
    assert native.leases() == {"c1-eth0"}


def test_beside_the_pods_own_interface_the_others_have_no_default_route(native: Node) -> None:
    """The routes of a network are those of the interface that the runtime names; a network of the node has its own."""
    harness.ipam_plugin(native.folder / "plugins", "static", ROUTED)
    routed = {"type": "static", "routes": [{"dst": "0.0.0.0/0"}]}
    native.grant(native.device(0), native.device(1), native.device(2, ipam=routed, node_network="b"))
    network = alone(ipam=routed)
    found = native.call("ADD", network).document
    assert [each["address"] for each in found["ips"]] == ["10.9.0.10/16", "10.9.0.11/16", "10.9.0.12/16"]
    routes = [len(native.bench.machine.netdevs(vf)[0].routes) for vf in native.bench.vfs[:3]]
    assert routes == [1, 0, 1]
    answer = native.call("CHECK", {**network, "prevResult": found})
    assert answer.code == 0, answer


def with_an_uplink(node: Node) -> None:
    index = node.bench.machine.add_link("up0", node.bench.machine.home)
    with node.bench.node.kernel() as net:
        net.add_address(index, ipaddress.ip_interface("192.0.2.10/24"))


@pytest.mark.parametrize("network", [alone(hostLink=True), chained(hostLink=True)])
def test_of_several_interfaces_one_has_the_host_link(native: Node, network: dict[str, object]) -> None:
    with_an_uplink(native)
    native.grant(native.device(0, interface="rail0"), native.device(1), native.device(2))
    answer = native.call("ADD", network)
    assert answer.code == 0, answer
    named = [each["name"] for each in answer.document["interfaces"] if each.get("sandbox")]
    assert named.count("host0") == 1
    linked = [each.owner.ifname for each in native.bench.book.records() if each.host_link is not None]
    assert linked == ["eth0" if network["claims"] == "alone" else "rail0"]
    assert native.call("DEL", network).code == 0
    assert native.held() == {}


@pytest.mark.parametrize("own", [{}, {"network": {"hostLink": True, "services": "auto"}}])
def test_what_the_node_has_or_demands_for_a_pod_is_of_one_interface(
    tmp_path: pathlib.Path, own: dict[str, Any]
) -> None:
    """By the node's default, or by the claims themselves."""
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"defaults": {"hostLink": True}, "rules": [{"hostLink": [True]}]}))
    with serving(tmp_path, "native", guard=policy.Guard(path)) as node:
        with_an_uplink(node)
        node.grant(node.device(0, **own), node.device(1, **own))
        answer = node.call("ADD", alone())
        assert answer.code == 0, answer
        linked = [each.owner.ifname for each in node.bench.book.records() if each.host_link is not None]
        assert linked == ["eth0"]
        assert node.call("DEL", alone()).code == 0


def test_policies_of_a_network_that_only_multus_could_name_are_refused(tmp_path: pathlib.Path) -> None:
    """The agent knows a pod's further networks by its annotations: without one a policy would hold nothing."""
    source = policy_source.TableSource(policies.PolicyTable(rules={("ml", "train-0", ""): policies.Rules()}))
    parts = {"policies": source, "enforcement": policy_source.NotedEnforcement()}
    with serving(tmp_path, "native", **parts) as node:
        node.grant(node.device(0))
        refused = node.call("ADD", alone(policy="multi"))
        assert (refused.code, 'policy "multi" with claims' in refused.message) == (7, True)
        assert node.call("ADD", alone(policy="kubernetes")).code == 0
        assert node.call("DEL", alone(policy="kubernetes")).code == 0


def test_the_runtimes_mac_is_that_of_the_interface_that_it_names(native: Node) -> None:
    native.grant(native.device(0), native.device(1))
    found = native.call("ADD", alone(), f"{POD};MAC={bench.MAC}").document
    assert [each["mac"] == bench.MAC for each in found["interfaces"]] == [True, False]


def test_a_runtime_that_is_gone_leaves_nothing(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path, "native") as node:
        node.grant(node.device(0), node.device(1))
        before = node.bench.machine.snapshot()
        env = {"SRIOV_CNI_SOCKET": str(node.client.socket), "PATH": "/usr/bin:/bin", "CNI_PATH": node.client.cni_path}
        env |= {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": node.client.netns}
        _unread(node.client.shim[0], {**env, "CNI_ARGS": POD}, alone())
        assert (node.bench.machine.snapshot(), node.held(), node.leases()) == (before, {}, set())


def test_a_shim_whose_attachment_was_ended_before_its_answer_was_read_is_told(native: Node) -> None:
    """As one that was stopped meanwhile: of several devices it is enough that one has gone."""
    native.grant(native.device(0), native.device(1))
    network = alone(ipam=None)
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": native.client.netns}
    encoded = {key.encode(): value.encode() for key, value in {**env, "CNI_ARGS": POD}.items()}
    with contextlib.closing(shim.connect(os.fsencode(native.client.socket), 5)) as daemon:
        shim.send_call(daemon, encoded, json.dumps(network).encode())
        kind, payload = shim.receive(daemon)
        assert (kind, payload[:1]) == (wire.ANSWER, b"\0")
        assert native.call("DEL", network).code == 0
        daemon.sendall(wire.frame(wire.DELIVERED, b"\1"))
        assert shim.receive(daemon)[0] == wire.WITHDRAWN
    assert native.held() == {}


def _unread(program: str, env: dict[str, str], network: dict[str, object]) -> None:
    """Run the shim with a stdout that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [program], input=json.dumps(network).encode(), stdout=writer, env=env, check=False, timeout=60
    )
    os.close(writer)
    assert done.returncode == 254
