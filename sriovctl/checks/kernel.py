"""doctor's checks of the kernel and its drivers, with a table of known faults. Pure: facts to findings.

Every fault names where it was read or seen. Those that the CNI works around are info: they explain what one sees.
"""

from collections.abc import Iterator

import msgspec

from sriovctl.checks.findings import Finding, Kind
from sriovctl.node import facts

_NSIDS = (4, 20)
_PARENTS = (5, 14)
_SLOW_HZ = 100
_FQS_MS = 1  # milliseconds that are too few to report


class Fault(msgspec.Struct, frozen=True):
    """`source` is where it was read in Linux 6.12, or that it was measured there."""

    drivers: frozenset[str]
    text: str
    source: str


FAULTS = (
    Fault(
        frozenset({"igbvf"}),
        "it reports the address that a VF had at its last reset as the permanent one, even a pod's",
        "igbvf_reset() in drivers/net/ethernet/intel/igbvf/netdev.c",
    ),
    Fault(
        frozenset({"igb", "ixgbe"}),
        "it refuses a rate while the PF has no link",
        "igb_ndo_set_vf_bw() in igb_main.c, ixgbe_link_mbps() in ixgbe_sriov.c",
    ),
    Fault(
        frozenset({"mlx5_core"}),
        "with spoof checking on, a VF without an administered MAC sends no frame",
        "esw_acl_ingress_lgcy_setup() in mlx5/core/esw/acl/ingress_lgcy.c",
    ),
)


def kernel(found: facts.Facts) -> Iterator[Finding]:
    release, version = found.kernel.release, found.kernel.version
    if (0, 0) < version < _PARENTS:
        yield Finding(
            Kind.KERNEL_NO_PARENT,
            "kernel",
            f"Linux {release} does not report the parent device of a link, which finds a renamed VF",
        )
    if (0, 0) < version < _NSIDS:
        yield Finding(
            Kind.KERNEL_NO_NSID, "kernel", f"Linux {release} cannot report whether the owner of a vfio VF is gone"
        )


def drivers(found: facts.Facts) -> Iterator[Finding]:
    used = {one.driver for one in (*found.pfs, *found.vfs) if one.driver}
    for name in sorted(used):
        if name in found.versions:
            yield Finding(Kind.DRIVER_FOREIGN, name, f"version {found.versions[name]}, not the one of the kernel")
        for fault in FAULTS:
            if name in fault.drivers:
                yield Finding(Kind.DRIVER_FAULT, name, f"{fault.text} ({fault.source})")


def waiting(found: facts.Facts) -> Iterator[Finding]:
    """Check waits: a move between namespaces waits for RCU under the kernel's global lock, one pod at a time."""
    ticks, hz = found.kernel.first_fqs, found.kernel.hz
    if hz is not None and hz <= _SLOW_HZ:
        yield Finding(Kind.SLOW_TICK, "kernel", f"CONFIG_HZ={hz}: what waits for a tick waits {1000 // hz} ms")
    if ticks and ticks * 1000 / (hz or 1000) > _FQS_MS:
        took = f", {ticks * 1000 // hz} ms at CONFIG_HZ={hz}" if hz else ""
        yield Finding(
            Kind.RCU_WAIT, "kernel", f"jiffies_till_first_fqs is {ticks}{took}: each move of a VF waits for it"
        )
