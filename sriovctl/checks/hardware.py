"""doctor's checks of PFs, VFs, IOMMU and PCI. Pure: facts to findings."""

from collections.abc import Iterator

from sriov import devices
from sriovctl.checks.findings import Finding, Kind
from sriovctl.node import facts, pcie

_MANY = 128  # VFs of a PF; about there the kernel's list outgrows one netlink message


def pfs(found: facts.Facts) -> Iterator[Finding]:
    if not found.pfs and not found.passed_through:
        yield Finding(Kind.NO_PF, "node", f"no network device below {found.seen.tree.pci_devices} has sriov_totalvfs")
    for pf in found.pfs:
        name = pf.netdevs[0] if pf.netdevs else pf.pci
        if pf.driver is None:
            yield Finding(Kind.PF_NO_DRIVER, pf.pci, f"{pf.vendor}:{pf.device} is bound to no driver")
        elif not pf.numvfs:
            yield Finding(Kind.NO_VFS, name, "sriov_numvfs is 0")
        if pf.numvfs > _MANY:
            yield Finding(Kind.MANY_VFS, name, f"it has {pf.numvfs} VFs")
        if not found.autoprobe[pf.pci]:
            yield Finding(Kind.AUTOPROBE_OFF, name, "sriov_drivers_autoprobe is 0: new VFs get no driver")
        if found.representors[pf.pci]:
            yield Finding(Kind.SWITCHDEV, name, f"it has {found.representors[pf.pci]} representors beside its netdev")


def links(found: facts.Facts) -> Iterator[Finding]:
    for pf in found.pfs:
        uplink = found.seen.catalog.uplinks.get(pf.pci)
        if uplink is None or not pf.numvfs:
            continue
        if not uplink.up:
            yield Finding(Kind.PF_DOWN, uplink.netdev, f"the PF of {pf.numvfs} VFs is down: no VF sends or receives")
        elif uplink.carrier is False:
            yield Finding(Kind.PF_NO_CARRIER, uplink.netdev, f"the PF of {pf.numvfs} VFs is up and has no carrier")


def vfs(found: facts.Facts) -> Iterator[Finding]:
    for vf in found.vfs:
        if vf.driver is None:
            yield Finding(Kind.VF_NO_DRIVER, vf.pci, f"VF {vf.index} of {vf.pf_netdev or vf.pf} has no driver")
        if vf.host_use is not None:
            yield Finding(Kind.HOST_TRAFFIC, vf.pci, vf.host_use.text)


def iommu(found: facts.Facts) -> Iterator[Finding]:
    if found.vfs and not found.groups:
        yield Finding(Kind.IOMMU_OFF, "node", f"no IOMMU groups; the kernel was booted with {found.kernel.cmdline!r}")
    for vf in found.vfs:
        if (vf.vfio is not None or vf.driver in devices.USERSPACE_DRIVERS) and vf.iommu is None:
            yield Finding(Kind.IOMMU_MISSING, vf.pci, f"it is bound to {vf.driver} and has no IOMMU group")
        if vf.iommu is not None and vf.iommu.unsafe:
            yield Finding(Kind.IOMMU_UNSAFE, vf.pci, f"its group {vf.iommu.number} is vfio's no-IOMMU mode")
        members = found.groups.get(vf.iommu.number, ()) if vf.iommu else ()
        others = [each for each in members if each != vf.pci and not _is_bridge(found, each)]
        if others:
            yield Finding(Kind.IOMMU_SHARED, vf.pci, f"its group also holds {', '.join(others)}")


def _is_bridge(found: facts.Facts, pci: str) -> bool:
    one = found.functions.get(pci)
    return one is not None and not (one.is_gpu or one.is_nic)


def acs(found: facts.Facts) -> Iterator[Finding]:
    """Check ACS if it costs something: a GPU and a NIC below one switch, on different ports of it."""
    gpus = [one for one in found.functions.values() if one.is_gpu]
    pfs = [found.functions[pf.pci] for pf in found.pfs if pf.pci in found.functions]
    pairs = [(gpu, pf) for gpu in gpus for pf in pfs if len(pcie.common(gpu, pf)) > 1]
    for gpu, pf in pairs:
        between = set(gpu.path) ^ set(pf.path)
        for bridge in sorted(between):
            if bridge in found.functions and found.functions[bridge].redirects:
                yield Finding(Kind.ACS_REDIRECT, bridge, f"it sends traffic of GPU {gpu.pci} and NIC {pf.pci} upstream")
