"""A VF that had a netdev when its owner got it, and that a pod or a tool has bound to another driver since.

Its netdev cannot be given to the next pod, and what is in the VF cannot be looked at. So its record stays, until the VF
has a netdev again. What an operator binds to vfio-pci while nobody has it has no record: that is a choice, and counts.
"""

from sriov import errors
from sriov.hardware import sysfs
from sriov.state import ledger


def problem(tree: sysfs.Tree, record: ledger.Record) -> errors.DriverError | None:
    """What is wrong with the VF, if it is such a one. Without any driver it is refused for that already.

    Records of older versions do not say which driver it had. Of a damaged one nobody knows whether it had a netdev.
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
