"""Invariants of a node, whatever died and when, as one function: I1 to I6 of the conformance table.

Each is a fact about the machine, the ledger and the lease file; none asks the product.
"""

from collections.abc import Set

import msgspec

from sriov import devices, settings
from sriov.state import ledger
from tests.crash import mortal


def assert_sound(here: mortal.MortalNode, unknown: Set[devices.PciAddress] = frozenset()) -> None:
    """I1, I2, I6: at any time between two calls. `unknown` are VFs that somebody else has set something on."""
    records = here.records()
    for vf in here.vfs:
        if here.machine.node.tree.pci(vf).exists():
            _in_one_place(here, vf)
            if vf not in records and vf not in unknown:
                _clean(here, vf)
    _only_our_files(here)


def assert_settled(here: mortal.MortalNode) -> None:
    """I5 and the rest of I6: once every container had its DEL, nobody holds anything."""
    assert_sound(here)
    assert here.records() == {}
    assert here.ipam.held() == set(), "I5: an address is leaked"


def _in_one_place(here: mortal.MortalNode, vf: devices.PciAddress) -> None:
    """I1: one netdev in one namespace that exists; sysfs shows it in the host and nowhere else."""
    found = here.machine.netdevs(vf)
    assert len(found) <= 1, f"I1: {vf} is in {len(found)} places"
    for each in found:
        assert each.where in here.machine.namespaces(), f"I1: {vf} is nowhere"
        shown = here.machine.node.tree.netdev_name(vf)
        assert shown == (each.link.name if each.where == here.machine.home.identity else None), f"I1: {vf} {shown}"
    assert {each.where for each in here.machine.rdmas(vf)} <= here.machine.namespaces().keys(), f"I1: {vf}'s RDMA"


def _clean(here: mortal.MortalNode, vf: devices.PciAddress) -> None:
    """I2: a VF that nobody has is at home, down, as it came, and its PF knows nothing of former owners."""
    for each in here.machine.netdevs(vf):
        assert each.where == here.machine.home.identity, f"I2: {vf} is in a pod and nobody knows"
        assert msgspec.structs.replace(each.link, index=here.identities[vf].index) == here.identities[vf], (
            "I2: the netdev"
        )
        assert (each.addresses, each.routes) == ([], []), f"I2: {vf} has kept addresses"
        assert each.slot is not None
        for rdma in here.machine.rdmas(vf):
            assert (rdma.where, rdma.device) == (here.machine.home.identity, here.rdma[vf]), f"I2: {vf}'s RDMA device"
        stated = state_of(here, vf)
        assert stated in _baselines(here, vf), f"I2: {vf} has kept {stated}"


def assert_no_host_link(here: mortal.MortalNode) -> None:
    """Once every container had its DEL, neither the host nor a pod has an end of one."""
    every = [here.machine.home.identity, *here.machine.namespaces()]
    assert [each.link.name for where in every for each in here.machine.here(where) if each.link.kind == "veth"] == []


def state_of(here: mortal.MortalNode, vf: devices.PciAddress) -> settings.VfSettings:
    """What the PF has the VF at."""
    [device] = here.machine.netdevs(vf)
    assert device.slot is not None
    table = here.machine.pf(device.slot[0])
    assert table is not None
    return table.vfs[device.slot[1]]


def _baselines(here: mortal.MortalNode, vf: devices.PciAddress) -> tuple[settings.VfSettings, ...]:
    """What is declared, else the baseline. A driver that cannot clear a MAC is told the VF's own."""
    if here.profile.clears_mac:
        return (here.rest,)
    return here.rest, msgspec.structs.replace(here.rest, mac=here.identities[vf].address)


def assert_given(
    here: mortal.MortalNode,
    container: str,
    vf: devices.PciAddress,
    wanted: settings.VfSettings,
    *,
    refused: bool = False,
) -> None:
    """What the pod sees is what was asked for, and the ledger says so.

    `refused`: one of the ADD's requests was refused. Of all settings only a MAC that nobody named is passed over then.
    """
    [device] = here.machine.netdevs(vf)
    assert here.machine.namespaces()[device.where] == container, f"{vf} is not in {container}"
    assert {each.where for each in here.machine.rdmas(vf)} <= {device.where}, f"{vf}'s RDMA device is elsewhere"
    assert device.link.up
    assert device.link.name == mortal.IFNAME
    assert device.link.mtu == here.identities[vf].mtu
    mac = here.identities[vf].address if wanted.mac == settings.NO_MAC else wanted.mac
    record: ledger.Record = here.records()[vf]
    found = state_of(here, vf)
    if refused and wanted.mac == settings.NO_MAC and settings.Setting.MAC in (record.passed_over or ()):
        wanted = msgspec.structs.replace(wanted, mac=found.mac)
    assert found == _stated(here, vf, wanted)
    assert device.link.address == mac
    assert len(device.addresses) == len(device.routes) == 1
    assert record.belongs_to(container, mortal.IFNAME)
    assert (container, mortal.IFNAME) in here.ipam.held()


def _stated(here: mortal.MortalNode, vf: devices.PciAddress, wanted: settings.VfSettings) -> settings.VfSettings:
    """With spoof checking on, a pod that named no MAC is held to the VF's own, unless it may change it all the same."""
    if wanted.mac == settings.NO_MAC and wanted.spoofchk and not wanted.trust:
        return msgspec.structs.replace(wanted, mac=here.identities[vf].address)
    if here.profile.clears_mac or wanted.mac != settings.NO_MAC:
        return wanted
    kept = state_of(here, vf).mac
    assert kept in (settings.NO_MAC, here.identities[vf].address), f"{vf} has kept MAC {kept}"
    return msgspec.structs.replace(wanted, mac=kept)


def _only_our_files(here: mortal.MortalNode) -> None:
    """I6: nothing outside the ledger's folder, and in there records and drafts alone."""
    names = {path.name for path in here.folder.iterdir() if not path.name.startswith("ns-")}
    assert names == {"sys", "run", "leases.json"}, f"I6: {names}"
    left = [path.name for path in (here.run_dir / "vfs").iterdir() if path.suffix not in (".json", ".tmp")]
    assert left == [], f"I6: {left}"
