"""Numbers in the names of RDMA device nodes, as in uverbs5: their devices, and how the kernel changes them.

A device that moves to another namespace is removed from every client of ib_core and added to them again
(drivers/infiniband/core/device.c, rdma_dev_change_netns). On the way it frees its number and gets the lowest one free
then (uverbs_main.c, ib_uverbs_remove_one and ib_uverbs_add_one; user_mad.c, ib_umad_init_port: ida_alloc_max). So it
keeps its number only if nothing else moves meanwhile and no lower number is free. Both classes belong to no namespace,
so every sysfs shows all of the machine's nodes.
"""

from sriov import devices, errors
from sriov.hardware import sysfs

_CLASSES = {"infiniband_verbs": "uverbs", "infiniband_mad": "umad"}  # issm has umad's numbers


def lower_free(tree: sysfs.Tree, nodes: tuple[str, ...]) -> str | None:
    """Return the lowest free node below one of these, which the next move would assign; None if they would stay."""
    for name, prefix in _CLASSES.items():
        own = _numbers(nodes, prefix)
        taken = _numbers(sysfs.names(f"{tree.root}/class/{name}"), prefix) if own else own
        free = next((number for number in range(max(own, default=0)) if number not in taken), None)
        if free is not None:
            return f"{prefix}{free}"
    return None


def has_gap(tree: sysfs.Tree) -> bool:
    """Report whether any number is free below one that is taken."""
    return any(lower_free(tree, sysfs.names(f"{tree.root}/class/{name}")) is not None for name in _CLASSES)


def devices_by_number(tree: sysfs.Tree) -> tuple[devices.PciAddress, ...]:
    """Return the PCI devices that have RDMA device nodes, the one with the highest number first."""
    folder = f"{tree.root}/class/infiniband_verbs"
    numbers = sorted(_numbers(sysfs.names(folder), "uverbs"), reverse=True)
    found = (sysfs.target(f"{folder}/uverbs{number}/device") for number in numbers)
    return tuple(dict.fromkeys(each for target in found if (each := _pci(target)) is not None))


def _numbers(nodes: tuple[str, ...], prefix: str) -> set[int]:
    rests = (node.removeprefix(prefix) for node in nodes if node.startswith(prefix))
    return {int(rest) for rest in rests if rest.isdecimal()}


def _pci(target: str | None) -> devices.PciAddress | None:
    try:
        return devices.pci_address(target)
    except errors.DeviceError:  # a subfunction's, or of no hardware
        return None
