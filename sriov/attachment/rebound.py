"""VFs that had a netdev when their owner got them, and that a pod or a tool has bound to another driver since.

Such a VF cannot give the next pod a netdev, and what is in the VF cannot be inspected. So its record stays until the VF
has a netdev again. A VF that an operator binds to vfio-pci while nobody has it has no record: that is the operator's
choice, and is respected.
"""

from sriov import errors
from sriov.hardware import sysfs
from sriov.state import ledger


def problem(tree: sysfs.Tree, record: ledger.Record) -> errors.DriverError | None:
    """Return what is wrong with the VF if it is such a VF, else None. A VF without any driver is refused elsewhere.

    Records of older versions do not name the driver. A damaged record does not show whether the VF had a netdev.
    """
    if record.home is None or record.owner == ledger.UNKNOWN:
        return None
    driver = sysfs.target(f"{tree.pci(record.pci)}/driver")
    if driver is None or tree.netdev_name(record.pci) is not None:
        return None
    if not sysfs.is_userspace(str(tree.pci(record.pci)), driver) and record.driver in ("", driver):
        return None
    return errors.DriverError(
        f"VF {record.pci} has driver {driver} and no netdev, and had one when {record.owner} got it",
        f"bind it to {record.driver or 'its kernel driver'} again: then it is cleaned and handed out",
    )
