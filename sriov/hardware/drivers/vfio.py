"""Vfio devices: whether a program has one open, by its runtime power state in sysfs; nothing is opened.

A trial open of the vfio group is no way: it is exclusive, so a pod that opens it at that moment would be refused
(drivers/vfio/group.c, vfio_group_fops_open()). A search in every /proc/*/fd needs the host's processes and
CAP_SYS_PTRACE. From Linux 5.19 on vfio lets a device suspend that nobody has open, and resumes it from open to close
(drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_enable(), _disable() and _register_device(), which
also sets power/control to auto; Documentation/ABI/testing/sysfs-devices-power). Seen on Linux 6.12. A device is also
awake while something reads its config space, as lspci does for a moment (drivers/pci/access.c): only what lasts counts.
"""

from sriov.hardware import sysfs


def is_open(tree: sysfs.Tree, folder: str) -> bool | None:
    """Report it; None if it cannot be known: on an older kernel, or if an administrator keeps devices awake."""
    if sysfs.text(f"{folder}/power/control") != "auto" or _kept_awake(tree):
        return None
    return {"active": True, "suspended": False}.get(sysfs.text(f"{folder}/power/runtime_status") or "")


def _kept_awake(tree: sysfs.Tree) -> bool:
    """Report vfio_pci's parameter that keeps devices awake, also of variants (vfio_pci_core_set_params())."""
    return sysfs.text(f"{tree.root}/module/vfio_pci/parameters/disable_idle_d3") == "Y"
