"""The keys of ib-sriov-cni, from end to end; and each key that is not for a VF's link layer refused by name."""

import pathlib
from collections.abc import Iterator

import pytest

from sriov import settings
from tests.fakes import bench, drivers
from tests.sriov_cni import harness

GUID = "02:00:00:00:cc:00:00:01"
ETHERNET = [
    ({"vlan": 5}, "vlan"),
    ({"mac": bench.MAC}, "mac"),
    ({"runtimeConfig": {"mac": bench.MAC}}, "mac"),
    ({"spoofchk": "off"}, "spoofchk"),
    ({"trust": "on"}, "trust"),
    ({"max_tx_rate": 5}, "tx_rate"),
    ({"rdmaIsolation": True}, "rdmaIsolation"),
]
INFINIBAND = [
    ({"guid": GUID}, "guid"),
    ({"runtimeConfig": {"infinibandGUID": GUID}}, "guid"),
    ({"pkey": "0x8001"}, "pkey"),
]


class Node:
    def __init__(self, folder: pathlib.Path, driver: str) -> None:
        profiles = {"ib": drivers.MLX5_INFINIBAND, "mlx5": drivers.MLX5}
        self.bench = bench.make(folder, profiles[driver])
        self.client = harness.Client(folder / "cni.sock", "", self.bench.machine.path("pod"))

    def call(self, command: str, **keys: object) -> harness.Answer:
        return self.client.call(command, harness.configuration(self.bench.vfs[0], **keys))


@pytest.fixture
def infiniband(tmp_path: pathlib.Path) -> Iterator[Node]:
    yield from served(tmp_path, "ib")


@pytest.fixture
def ethernet(tmp_path: pathlib.Path) -> Iterator[Node]:
    yield from served(tmp_path, "mlx5")


def served(folder: pathlib.Path, driver: str) -> Iterator[Node]:
    node = Node(folder, driver)
    here = node.bench
    with harness.daemon(here.node, here.book, node.client.socket, here.machine.adopt):
        yield node


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"guid": GUID},
        {"runtimeConfig": {"infinibandGUID": GUID.upper()}, "guid": "02:00:00:00:00:00:00:99"},
        {"link_state": "enable", "spoofchk": "on", "trust": "off", "vlan": 0, "mtu": 1400},
    ],
)
def test_add_check_and_del(infiniband: Node, keys: dict[str, object]) -> None:
    own = infiniband.bench.at_home("enp1s0v0").address
    added = infiniband.call("ADD", **keys)
    assert added.code == 0, added
    [interface] = added.document["interfaces"]
    guid = GUID if "guid" in str(keys).lower() else settings.guid_of(own)
    assert settings.guid_of(interface["mac"]) == guid
    assert infiniband.bench.vf_state().link_state.value == keys.get("link_state", "auto")
    assert infiniband.call("CHECK", **keys, prevResult=added.document).code == 0
    assert infiniband.call("DEL", **keys).code == 0
    assert infiniband.bench.at_home("enp1s0v0").address == own


@pytest.mark.parametrize(("keys", "name"), ETHERNET)
def test_ethernets_keys_are_refused_by_name(infiniband: Node, keys: dict[str, object], name: str) -> None:
    infiniband.bench.machine.add_rdma(infiniband.bench.vfs[0])
    before = infiniband.bench.machine.snapshot()
    answer = infiniband.call("ADD", **keys)
    assert (answer.code, name in answer.message) == (2, True), answer
    assert infiniband.bench.machine.snapshot() == before


@pytest.mark.parametrize(("keys", "name"), INFINIBAND)
def test_infinibands_keys_are_refused_by_name(ethernet: Node, keys: dict[str, object], name: str) -> None:
    before = ethernet.bench.machine.snapshot()
    answer = ethernet.call("ADD", **keys)
    assert (answer.code, name in answer.message) == (2, True), answer
    assert ethernet.bench.machine.snapshot() == before


@pytest.mark.parametrize(
    ("pkey", "code"),
    [
        ("0x8001", 0),
        ("0x1", 0),
        ("8001", 0),
        ("0x7fff", 0),
        ("0xffff", 2),
        ("0x9", 2),
        ("x", 7),
        ("0", 7),
        ("f" * 4000, 7),
    ],
    ids=lambda value: str(value)[:8],
)
def test_a_pkey_has_to_be_there(infiniband: Node, pkey: str, code: int) -> None:
    device = infiniband.bench.machine.add_rdma(infiniband.bench.vfs[0])
    table = infiniband.bench.node.tree.pci(infiniband.bench.vfs[0]) / f"infiniband/{device.name}/ports/1/pkeys"
    table.mkdir(parents=True, exist_ok=True)
    for place, value in enumerate(("0x7fff", "0x8001", "0x0000")):
        (table / str(place)).write_text(f"{value}\n")
    answer = infiniband.call("ADD", pkey=pkey)
    assert answer.code == code, answer
    assert code == 0 or "pkey" in answer.message


@pytest.mark.parametrize("guid", ["02:00:00:00:00:01", "00:00:00:00:00:00:00:00"])
def test_a_guid_that_no_port_can_have(infiniband: Node, guid: str) -> None:
    answer = infiniband.call("ADD", guid=guid)
    assert (answer.code, "not an InfiniBand GUID" in answer.message) == (7, True), answer


def test_a_host_link_is_refused(infiniband: Node) -> None:
    network = harness.configuration(infiniband.bench.vfs[0], hostLink=True, ipam={"type": "static"})
    refused = infiniband.client.call("ADD", network, PATH="/")
    assert refused.code == 2, refused
    assert "hostLink 'host0': not for an InfiniBand VF, which 0000:" in refused.message
    assert infiniband.bench.book.held() == frozenset()
