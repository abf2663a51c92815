"""A VF's RDMA devices, where each is in one namespace alone: which they are, and how they come home again.

A device in a pod is known by its index, since root in there may rename it. Of a namespace that dies the kernel brings
them home itself (drivers/infiniband/core/device.c, rdma_dev_exit_net), under the name they have then.
"""

import errno
import functools
import time

from sriov import devices, errors, infiniband, kernel, ledger, netns, sysfs
from sriov.node import Node

_POLL_SECONDS = 0.02


def movable(node: Node, pci: devices.PciAddress) -> tuple[kernel.RdmaDevice, ...]:
    """Those of the VF that are in the host and can be moved; none where all namespaces share them."""
    names = infiniband.names(node.tree.pci(pci))
    if not names:
        return ()
    with node.kernel() as net:
        if not net.rdma_is_exclusive():
            return ()
        return tuple(each for each in net.rdma_devices() if each.name in names)


def move(net: kernel.Kernel, device: kernel.RdmaDevice, pod: netns.Netns) -> None:
    """Into the pod. UnsupportedError where the driver cannot take the device from the programs that have it open."""
    try:
        net.move_rdma(device.index, pod)
    except errors.KernelError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        raise errors.UnsupportedError(
            f"the driver of RDMA device {device.name} cannot move it into a pod ({error.message})",
            "set rdmaIsolation false, or let all share: `rdma system set netns shared`, while there is no pod",
        ) from error


def bring_home(node: Node, net: kernel.Kernel, record: ledger.Record, pod: netns.Netns | None) -> None:
    """Take back what went with the VF, if it did, under the names it had; may be run again after any failure.

    Raises BusyError where it is neither in the host nor in the pod, KernelError when a request fails.
    """
    if not record.rdma:
        return
    if pod is not None and _lacking(node, record):
        _fetch(node, net, record, pod)
    _wait(node, record)
    if {each.name for each in record.rdma} != set(infiniband.names(node.tree.pci(record.pci))):
        _rename(net, record)


def _lacking(node: Node, record: ledger.Record) -> bool:
    """A driver that was bound anew has made new devices, in the host: then nothing is in the pod."""
    return len(infiniband.names(node.tree.pci(record.pci))) < len(record.rdma)


def _fetch(node: Node, net: kernel.Kernel, record: ledger.Record, pod: netns.Netns) -> None:
    ours = {each.index for each in record.rdma}
    with net.inside(pod) as inner:
        for each in inner.rdma_devices():
            if each.index in ours:
                node.insist(functools.partial(inner.move_rdma, each.index, node.home))


def _wait(node: Node, record: ledger.Record) -> None:
    """The kernel takes a namespace apart in its own time.

    Character devices are there while the device is, wherever it is: without them there is none that could come home.
    """
    folder = node.tree.pci(record.pci)
    deadline = time.monotonic() + node.patience
    while _lacking(node, record) and infiniband.read(str(folder), sysfs.names(folder)) is not None:
        if time.monotonic() >= deadline:
            raise errors.BusyError(
                f"RDMA device {record.rdma[0].name} of VF {record.pci} is neither in the host nor in the pod",
                "its namespace is still held by a process; try again later",
            )
        time.sleep(_POLL_SECONDS)


def _rename(net: kernel.Kernel, record: ledger.Record) -> None:
    """Where another device took the name meanwhile, it keeps it."""
    names = {each.index: each.name for each in record.rdma}
    for each in net.rdma_devices():
        if names.get(each.index, each.name) != each.name:
            try:
                net.rename_rdma(each.index, names[each.index])
            except errors.KernelError as error:
                if error.errno != errno.EEXIST:
                    raise
