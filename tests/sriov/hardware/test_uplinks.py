"""The uplink among a PF's several netdevs, and how seldom it is looked for."""

import os
import pathlib
import threading

import pytest

from sriov import devices
from sriov.hardware import discovery, inventory, sysfs
from tests.fakes import procfs, sysfs_tree

PF = "0000:01:00.0"


class Card:
    """A PF with these netdevs: name and port name, None where the driver has none to tell."""

    def __init__(self, root: pathlib.Path, netdevs: dict[str, str | None], numvfs: int = 2) -> None:
        self.sys = sysfs_tree.SysfsTree(root / "sys")
        self.proc = procfs.Procfs(root / "proc").root
        self.pf = self.sys.add_pf(PF, None, sysfs_tree.LARGE, numvfs=numvfs)
        self.show(netdevs)

    def show(self, netdevs: dict[str, str | None], first_index: int = 10) -> None:
        listed = enumerate(netdevs, first_index)
        self.sys.set_netdev(self.pf, *(sysfs.Netdev(name, index, "02:00:00:00:00:01", 1500) for index, name in listed))
        for name, port in netdevs.items():
            if port is not None:
                self.name_port(name, port)

    def name_port(self, netdev: str, port: str) -> None:
        self.sys.set_attribute(self.pf, f"net/{netdev}/phys_port_name", port)

    @property
    def uplink(self) -> str | None:
        return self.sys.tree.netdev_name(self.pf)


@pytest.mark.parametrize(
    ("netdevs", "uplink"),
    [
        ({"p0": "p0", "pf0hpf": "pf0hpf", "en3f0pf0sf0": "pf0sf0", "c1vf1": "c1pf0vf1"}, "p0"),
        ({"p0": "p0", "hpf": "c1pf0", "pf": "pf0"}, "p0"),
        ({"eth0": None, "eth0np0": "p0"}, "eth0np0"),
        ({"eth0": None, "eth0np0": "p0", "eth1": "pf0", "eth2": "pf0vf0", "ctrl": "n0"}, "eth0np0"),
        ({"ens1": None, "ens1r0": "pf0vf0", "ens1r1": "pf0vf1"}, "ens1"),
        ({"a": "l1p4", "b": "pf0vf0"}, "a"),
        ({"enp1s0": None}, "enp1s0"),
        ({"enp1s0": "pf0vf0"}, "enp1s0"),
        ({}, None),
    ],
    ids=["bluefield", "bluefield-newer", "nfp", "nfp-flower", "no-wire", "line-card", "one", "one-named", "none"],
)
def test_the_uplink_is_the_wire_or_the_only_netdev_that_is_no_port_of_the_switch(
    tmp_path: pathlib.Path, netdevs: dict[str, str | None], uplink: str | None
) -> None:
    card = Card(tmp_path, netdevs)
    assert card.uplink == uplink
    assert inventory.scan(card.sys.tree).pfs[card.pf].netdev == uplink
    assert card.sys.tree.undecided(card.pf) == ()


@pytest.mark.parametrize(
    ("netdevs", "undecided"),
    [
        ({"eth0": None, "eth1": None}, ("eth0", "eth1")),
        ({"np0": "p0", "np1": "p1", "vf": "pf0vf0"}, ("np0", "np1")),
        ({"s0": "p0s0", "s1": "p0s1", "other": None}, ("s0", "s1")),
    ],
    ids=["connectx-3", "nfp-two-wires", "split"],
)
def test_what_stays_undecided_is_named(
    tmp_path: pathlib.Path, netdevs: dict[str, str | None], undecided: tuple[str, ...]
) -> None:
    card = Card(tmp_path, netdevs)
    assert card.uplink is None
    assert card.sys.tree.undecided(card.pf) == undecided


def crowd(root: pathlib.Path, wire: str | None = "p0") -> Card:
    return Card(root, {"p0": wire} | {f"rep{number}": f"pf0vf{number}" for number in range(256)}, numvfs=4)


@pytest.mark.parametrize("wire", ["p0", None])
def test_port_names_are_read_once(tmp_path: pathlib.Path, wire: str | None) -> None:
    """Whoever read them again would find the second netdev to be the wire."""
    card = crowd(tmp_path, wire)
    assert card.uplink == "p0"
    card.name_port("p0", "pf0vf9")
    card.name_port("rep0", "p0")
    assert card.uplink == "p0"
    found = inventory.scan(card.sys.tree)
    assert {vf.pf_netdev for vf in found.vfs.values()} == {"p0"}
    assert {inventory.lookup(card.sys.tree, pci).pf_netdev for pci in found.vfs} == {"p0"}
    (card.sys.tree.pci(card.pf) / "net/rep255").rename(tmp_path / "gone")
    assert card.uplink == "p0"


def test_another_netdev_is_another_uplink(tmp_path: pathlib.Path) -> None:
    """A card that leaves its switch's mode, or whose netdevs are renamed. Another netdev has another index."""
    card = crowd(tmp_path)
    assert card.uplink == "p0"
    card.show({"p0": "pf0vf0", "ens1": "p0"}, first_index=500)
    assert card.uplink == "ens1"
    card.show({"renamed": "p0", "rep": "pf0vf0"}, first_index=500)
    assert card.uplink == "renamed"
    card.show({"eth0": None})
    assert card.uplink == "eth0"


def test_one_that_was_the_only_one_is_doubted_when_another_comes(tmp_path: pathlib.Path) -> None:
    """nfp's own netdev is there before the one of its wire."""
    card = Card(tmp_path, {"eth0": None, "rep": "pf0vf0"})
    assert card.uplink == "eth0"
    card.show({"eth0": None, "rep": "pf0vf0", "eth0np0": "p0"})
    assert card.uplink == "eth0np0"


def test_a_vfs_representor_is_this_hosts_and_no_subfunctions(tmp_path: pathlib.Path) -> None:
    ports: dict[str, str | None] = {"p0": "p0", "sf": "pf0sf0", "other": "c1pf0vf0", "mine": "pf0vf0", "one": "pf0vf1"}
    card = Card(tmp_path, ports)
    found = discovery.scan(card.sys.tree, card.proc, tmp_path)
    vfs = sorted(one.pci for one in found.candidates.values() if one.pf)
    assert [found.candidates[pci].representor for pci in vfs] == ["mine", "one"]
    assert found.candidates[devices.pci_address(PF)].netdevs == ("p0",)


def test_a_thread_that_was_slow_does_not_replace_what_another_has_read(tmp_path: pathlib.Path) -> None:
    """It waits in one netdev's attribute, a FIFO, while another thread reads the port name of the next."""
    net = tmp_path / "net"
    for index, (name, port) in enumerate((("p0", "p0"), ("rep0", "pf0vf0"), ("slow", "pf0vf1")), 1):
        (net / name).mkdir(parents=True)
        (net / name / "phys_port_name").write_text(port)
        if name != "slow":
            (net / name / "ifindex").write_text(f"{index}\n")
    os.mkfifo(net / "slow/ifindex")
    tree = sysfs.Tree(tmp_path)
    thread = threading.Thread(target=tree.port_names, args=(str(net), ("p0", "slow", "rep0")))
    thread.start()
    with (net / "slow/ifindex").open("w") as writer:  # opens when the thread has come to it
        assert tree.port_names(str(net), ("p0", "rep0"))["rep0"] == "pf0vf0"
        (net / "rep0/phys_port_name").write_text("p9")
        writer.write("3\n")
    thread.join()
    assert tree.port_names(str(net), ("p0", "rep0"))["rep0"] == "pf0vf0"
