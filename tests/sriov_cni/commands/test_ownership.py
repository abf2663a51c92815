"""GC, STATUS, repair, chains, VFs without a netdev: the commands beyond a pod's own ADD and DEL."""

import asyncio
import contextlib
import json
import pathlib
import threading
from collections.abc import Iterator

import pytest

from sriov import devices, settings
from sriov.state import ledger, predecessor
from sriov_cni.commands import dispatch, repair
from sriov_cni.context import calls
from sriov_cni.shim import wire
from sriov_cni.spec import cni_errors, environment, netconf, typos, vf_request
from tests.fakes import bench, world
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode


def valid(*attachments: tuple[str, str]) -> dict[str, object]:
    return {"cni.dev/valid-attachments": [{"containerID": cid, "ifname": ifname} for cid, ifname in attachments]}


def add_three(cni: CniNode) -> None:
    """c1 and c2 on network n1, c3 on n2."""
    for number, network in ((1, "n1"), (2, "n1"), (3, "n2")):
        answer = cni.client.call(
            "ADD",
            harness.configuration(cni.bench.vfs[number], name=network, vlan=100),
            CONTAINERID=f"c{number}",
            IFNAME=f"net{number}",
        )
        assert answer.code == 0, answer


def owners(cni: CniNode) -> set[str]:
    return {record.owner.container_id for record in cni.bench.book.records()}


def test_c64_gc_ends_what_is_not_valid_and_leaves_the_rest(cni: CniNode) -> None:
    add_three(cni)
    answer = cni.client.call("GC", cni.conf(ipam={"type": "fixed"}, **valid(("c2", "net2"))), CONTAINERID="", NETNS="")
    # The namespace of a pod in memory cannot be opened by path: c1 is still in it, which is said and not hidden.
    assert (answer.code, "0000:01:10.2" in answer.message) == (100, True), answer
    cni.bench.machine.destroy("pod")
    answer = cni.client.call("GC", cni.conf(ipam={"type": "fixed"}, **valid(("c2", "net2"))), CONTAINERID="", NETNS="")
    assert (answer.code, answer.stdout) == (0, "")
    assert owners(cni) == {"c2", "c3"}
    assert cni.bench.vf_state(1) == settings.BASELINE
    assert cni.bench.vf_state(2).vlan == 100
    assert harness.ipam_calls(cni.plugins, "fixed") == ["GC", "GC"]


@pytest.mark.parametrize(
    ("keys", "code", "left"),
    [
        ({}, 7, {"c1", "c2", "c3"}),
        ({"cni.dev/valid-attachments": None}, 0, {"c3"}),
        ({"cni.dev/attachments": []}, 0, {"c3"}),
        ({"cni.dev/valid-attachments": [{"ifname": "net1"}]}, 6, {"c1", "c2", "c3"}),
        ({"cni.dev/valid-attachments": "c1"}, 6, {"c1", "c2", "c3"}),
        ({"cniVersion": "1.0.0", "cni.dev/valid-attachments": []}, 1, {"c1", "c2", "c3"}),
    ],
)
def test_c63_c66_what_gc_may_be_told(cni: CniNode, keys: dict[str, object], code: int, left: set[str]) -> None:
    add_three(cni)
    cni.bench.machine.destroy("pod")
    stdin = json.dumps({**cni.conf(), **keys}).encode()
    assert cni.client.call("GC", stdin, CONTAINERID=None, NETNS=None, IFNAME=None).code == code
    assert owners(cni) == left


def test_c59_status(cni: CniNode) -> None:
    before = cni.bench.machine.snapshot()
    for _ in range(2):
        answer = cni.client.call("STATUS", cni.conf(ipam={"type": "fixed"}), CONTAINERID="", NETNS="", IFNAME="")
        assert (answer.code, answer.stdout) == (0, "")
    assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "fixed") == ["STATUS", "STATUS"]
    assert cni.client.call("STATUS", cni.conf(cniVersion="1.0.0")).code == 1


def test_c62_that_no_vf_is_free_is_no_error(cni: CniNode) -> None:
    """Nor that there is none: what STATUS says is about the whole node, and VFs are counted by the device plugin."""
    for number, vf in enumerate(cni.bench.vfs):
        own = {"CONTAINERID": f"c{number}", "IFNAME": f"net{number}"}
        assert cni.client.call("ADD", harness.configuration(vf), **own).code == 0
    assert cni.client.call("STATUS", cni.conf()).code == 0
    cni.bench.machine.set_numvfs(devices.pci_address("0000:01:00.0"), 0)
    assert cni.client.call("STATUS", cni.conf()).code == 0


def test_c68_gc_goes_on_and_tells_all_that_failed(cni: CniNode) -> None:
    """c1 and c2 cannot be ended, since the namespace of a pod in memory cannot be opened by path; c4 can."""
    add_three(cni)
    with cni.bench.machine.namespace("other"):
        fourth = harness.configuration(cni.bench.vfs[4])
        assert cni.client.call("ADD", fourth, CONTAINERID="c4", NETNS=cni.bench.machine.path("other")).code == 0
    cni.bench.machine.destroy("other")
    harness.ipam_plugin(cni.plugins, "broken", 'echo \'{"code": 5, "msg": "no disk"}\'; exit 1')
    answer = cni.client.call("GC", cni.conf(ipam={"type": "broken"}, **valid()))
    assert answer.code == 100
    assert [vf in answer.document["details"] for vf in cni.bench.vfs[1:5]] == [True, True, False, False]
    assert "'broken': no disk" in answer.document["details"]
    assert owners(cni) == {"c1", "c2", "c3"}
    assert harness.ipam_calls(cni.plugins, "broken") == ["GC"]
    cni.bench.machine.destroy("pod")
    answer = cni.client.call("GC", cni.conf(ipam={"type": "broken"}, **valid()))
    assert (answer.code, answer.document["msg"]) == (5, "IPAM plugin 'broken': no disk"), "alone, it is the answer"
    assert owners(cni) == {"c3"}


def test_c59_status_without_a_ledger_is_50(cni: CniNode) -> None:
    (cni.client.socket.parent / "run/vfs").rmdir()
    answer = cni.client.call("STATUS", cni.conf())
    assert (answer.code, "cannot use the ledger" in answer.message) == (50, True)


def test_c60_the_ipam_plugins_status_is_ours(cni: CniNode) -> None:
    harness.ipam_plugin(cni.plugins, "unready", 'echo \'{"code": 51, "msg": "pool"}\'; exit 1')
    assert cni.client.call("STATUS", cni.conf(ipam={"type": "unready"})).code == 51


PREVIOUS = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "br0"}, {"name": "veth0"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
    "ips": [{"address": "10.9.0.2/24", "interface": 2}],
    "routes": [{"dst": "10.9.9.0/24"}],
    "dns": {"nameservers": ["10.9.0.1"]},
}


def test_c27_prev_result_is_merged(cni: CniNode) -> None:
    network = cni.conf(cniVersion="1.0.0", ipam={"type": "fixed"}, prevResult=PREVIOUS)
    document = cni.client.call("ADD", network).document
    assert [each["name"] for each in document["interfaces"]] == ["br0", "veth0", "eth0", "net1"]
    assert [(each["address"], each["interface"]) for each in document["ips"]] == [
        ("10.9.0.2/24", 2),
        ("10.1.0.5/24", 3),
    ]
    assert [each["dst"] for each in document["routes"]] == ["10.9.9.0/24", "0.0.0.0/0"]
    assert document["dns"] == PREVIOUS["dns"]
    assert cni.client.call("CHECK", {**network, "prevResult": document}).code == 0


@pytest.mark.parametrize("nothing", [None, {}])
def test_c29_a_prev_result_of_nothing_is_none(cni: CniNode, nothing: object) -> None:
    stdin = json.dumps({**cni.conf(), "prevResult": nothing}).encode()
    assert len(cni.client.call("ADD", stdin).document["interfaces"]) == 1


def test_f5_a_vf_that_came_home_alone_is_restored_by_the_daemon(cni: CniNode) -> None:
    daemon = calls.Daemon(cni.bench.node, cni.bench.book)
    before = cni.bench.machine.snapshot()
    assert cni.client.call("ADD", cni.conf(vlan=100, mac=bench.MAC)).code == 0
    asyncio.run(repair.repair(daemon))
    assert owners(cni) == {"c1"}, "a VF in its pod is left alone"
    cni.bench.machine.destroy("pod")
    asyncio.run(repair.repair(daemon))
    assert owners(cni) == set()
    assert cni.bench.machine.snapshot() == before


def test_the_whole_ledger_is_never_read_in_the_event_loop(tmp_path: pathlib.Path) -> None:
    """A thousand records take a tenth of a second, in which no call would be heard."""

    class Book(ledger.Ledger):
        def records(self) -> Iterator[ledger.Record]:
            threads.append(threading.current_thread())
            return super().records()

    class Upstream(predecessor.Upstream):
        def of_device(self, pci: devices.PciAddress) -> ledger.Record | None:
            threads.append(threading.current_thread())
            return super().of_device(pci)

    threads: list[threading.Thread] = []
    here, book, upstream = bench.make(tmp_path), Book(tmp_path / "run"), Upstream(tmp_path / "upstream")
    (tmp_path / "upstream/pci").mkdir(parents=True)
    (tmp_path / "upstream/pci" / here.vfs[0]).touch()
    daemon = calls.Daemon(here.node, book, upstream=upstream)

    async def no_ipam(command: str, plugin: str) -> wire.Outcome:
        raise AssertionError((command, plugin))

    async def call(command: environment.Command, **keys: object) -> None:
        invocation = environment.Invocation(command, "c1", "/run/netns/x", "net1")
        stdin = json.dumps(harness.configuration(here.vfs[0], **keys)).encode()
        with contextlib.suppress(cni_errors.CniError):
            await dispatch.run(daemon, calls.Call(invocation, netconf.decode(stdin), here.pod, no_ipam))

    async def body() -> None:
        await repair.get_to_know(daemon)
        await call(environment.Command.ADD)
        await repair.repair(daemon)
        await call(environment.Command.CHECK, prevResult={"interfaces": []})
        await call(environment.Command.GC, **{"cni.dev/valid-attachments": []})
        await call(environment.Command.DEL, deviceID=None)

    asyncio.run(body())
    assert len(threads) >= 5
    assert threading.main_thread() not in threads


def test_repair_goes_on_after_a_vf_that_cannot_be_restored(cni: CniNode) -> None:
    add_three(cni)
    cni.bench.machine.destroy("pod")
    cni.bench.machine.fail_at(1)
    asyncio.run(repair.repair(calls.Daemon(cni.bench.node, cni.bench.book)))
    assert owners(cni) == {"c1"}
    cni.bench.machine.fail_at(0)
    asyncio.run(repair.repair(calls.Daemon(cni.bench.node, cni.bench.book)))
    assert owners(cni) == set()


def bind_vfio(cni: CniNode, vf: devices.PciAddress) -> None:
    cni.bench.machine.node.set_driver(vf, "vfio-pci")
    cni.bench.machine.node.set_netdev(vf)


def test_c73_a_vf_with_a_userspace_driver_stays_and_is_configured(cni: CniNode) -> None:
    vf = cni.bench.vfs[0]
    bind_vfio(cni, vf)
    network = cni.conf(vlan=100, mac=bench.MAC, ipam={"type": "fixed"})
    document = cni.client.call("ADD", network).document
    assert document["interfaces"] == [
        {"name": "net1", "mac": bench.MAC, "sandbox": cni.client.netns, "pciID": vf},
    ]
    assert document["ips"][0]["address"] == "10.1.0.5/24"
    assert cni.bench.vf_state() == settings.VfSettings(mac=bench.MAC, vlan=100)
    assert cni.client.call("CHECK", {**network, "prevResult": document}).code == 0
    assert cni.client.call("ADD", network, CONTAINERID="c2", IFNAME="net2").code == 11
    assert cni.client.call("DEL", network, NETNS="").code == 0
    assert cni.bench.vf_state() == settings.BASELINE
    assert list(cni.bench.book.records()) == []


def test_a_vf_with_a_userspace_driver_has_no_host_link(cni: CniNode) -> None:
    bind_vfio(cni, cni.bench.vfs[0])
    refused = cni.client.call("ADD", cni.conf(hostLink=True, ipam={"type": "fixed"}))
    assert refused.code == 2, refused
    assert "hostLink 'host0': not for a VF with a userspace driver, which 0000:" in refused.message
    assert owners(cni) == set()
    assert harness.ipam_calls(cni.plugins, "fixed") == []


def test_a_vf_with_a_vfio_variant_stays_likewise(cni: CniNode) -> None:
    """It is told by vfio-dev in its folder: the kernel has had more than one such driver, and gets others."""
    vf = cni.bench.vfs[0]
    cni.bench.machine.node.set_vfio(vf, "mlx5_vfio_pci", "vfio3")
    document = cni.client.call("ADD", cni.conf(vlan=100)).document
    assert [each["pciID"] for each in document["interfaces"]] == [vf]
    assert cni.bench.vf_state().vlan == 100
    assert cni.client.call("DEL", cni.conf(), NETNS="").code == 0
    assert cni.bench.vf_state() == settings.BASELINE
    assert list(cni.bench.book.records()) == []


def test_f27_a_vf_that_was_bound_to_vfio_meanwhile_is_released(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(vlan=100)).code == 0
    cni.bench.machine.destroy("pod")
    bind_vfio(cni, cni.bench.vfs[0])
    assert cni.client.call("DEL", cni.conf(), NETNS="").code == 0
    assert cni.bench.vf_state() == settings.BASELINE


def test_allmulti_is_set_and_taken_back(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(allmulti="on")).code == 0
    assert cni.bench.in_pod().allmulti
    assert cni.client.call("DEL", cni.conf()).code == 0
    assert not cni.bench.at_home("enp1s0v0").allmulti


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("max-tx-rate", "did you mean 'max_tx_rate'?"),
        ("VLAN", "did you mean 'vlan'?"),
        ("vlanQos", "did you mean 'vlanQoS'?"),
        ("linkState", "did you mean 'link_state'?"),
        ("spoofcheck", "did you mean 'spoofchk'?"),
        ("logFile", "the daemon's own options configure its log"),
        ("banana", "key 'banana' is not known and is ignored"),
    ],
)
def test_a_key_that_is_ignored_is_told(key: str, says: str) -> None:
    [line] = typos.warnings([key, "name", "pciBusID", "cni.dev/attachments", "vlan"], vf_request.KEYS)
    assert repr(key) in line
    assert says in line


def test_a_providers_vlan_where_the_driver_knows_it(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path, world.PERMISSIVE)
    wanted = settings.VfSettings(mac=bench.MAC, vlan=5, proto=settings.VlanProto.AD)
    here.attach(here.request(wanted))
    assert here.vf_state() == wanted
    here.detach(pod=here.pod)
    assert here.vf_state() == settings.BASELINE
