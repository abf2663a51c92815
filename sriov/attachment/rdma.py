"""A VF's RDMA devices, on a node where each is in one namespace only: finding them, moving them, taking them back.

A device in a pod is known by its index, since root in the pod may rename it. When a namespace dies, the kernel itself
moves its devices to the host (drivers/infiniband/core/device.c, rdma_dev_exit_net), under the names they then have. One
device moves at a time on the node, since two at once may get each other's device nodes (rdma_nodes).
"""

import contextlib
import errno
import functools
import logging
import operator
from collections.abc import Iterator

from sriov import devices, errors, polling
from sriov.attachment.node import Node
from sriov.hardware import sysfs
from sriov.hardware.drivers import infiniband, rdma_nodes
from sriov.linux import kernel, netns
from sriov.state import ledger

_log = logging.getLogger(__name__)
_TURN_SECONDS = 20.0  # a call ends within half a minute and tells the runtime to try again


def movable(node: Node, pci: devices.PciAddress) -> tuple[kernel.RdmaDevice, ...]:
    """Return the VF's RDMA devices that are in the host and can be moved; none if all namespaces share them."""
    names = infiniband.names(node.tree.pci(pci))
    if not names:
        return ()
    with node.kernel() as net:
        if not net.rdma_is_exclusive():
            return ()
        return tuple(each for each in net.rdma_devices() if each.name in names)


def move(node: Node, net: kernel.Kernel, device: kernel.RdmaDevice, pod: netns.Netns) -> None:
    """Move the device into the pod. UnsupportedError if the driver cannot take it from programs that have it open."""
    with turn(node):
        _send(net, device, pod)


def refuse_lost(node: Node, pci: devices.PciAddress, promised: tuple[str, ...]) -> None:
    """Raise DeviceError if a device node that the pod was given is not the VF's any more, perhaps its neighbour's."""
    now = infiniband.nodes(node.tree.pci(pci))
    lost = [each for each in promised if each not in now]
    if lost:
        raise errors.DeviceError(
            f"VF {pci} has {', '.join(now)} and not {', '.join(lost)}, which its pod was given",
            "delete the pod, the next one gets the right ones; or set rdmaIsolation false, if it uses no RDMA",
        )


@contextlib.contextmanager
def turn(node: Node) -> Iterator[None]:
    """Keep every other call from moving an RDMA device meanwhile; not the kernel. Raises BusyError after 20 seconds."""
    if not node.rdma_turn.acquire(timeout=_TURN_SECONDS):
        raise errors.BusyError(f"RDMA devices of other VFs have been moving for {_TURN_SECONDS:g} s", "try again later")
    try:
        yield
    finally:
        node.rdma_turn.release()


def _send(net: kernel.Kernel, device: kernel.RdmaDevice, pod: netns.Netns) -> None:
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
    """Move the RDMA devices that went with the VF to the host, under the names they had; may run again after a failure.

    Raises BusyError if a device is neither in the host nor in the pod, KernelError if a request fails.
    """
    if not record.rdma:
        return
    if pod is not None and _lacking(node, record):
        _fetch(node, net, record, pod)
    _wait(node, record)
    if {each.name for each in record.rdma} != set(infiniband.names(node.tree.pci(record.pci))):
        _rename(net, record)


def _lacking(node: Node, record: ledger.Record) -> bool:
    """Report whether RDMA devices are missing in the host. A driver bound again has made new ones there: none is."""
    return len(infiniband.names(node.tree.pci(record.pci))) < len(record.rdma)


def _fetch(node: Node, net: kernel.Kernel, record: ledger.Record, pod: netns.Netns) -> None:
    ours = {each.index for each in record.rdma}
    with net.inside(pod) as inner:
        for each in inner.rdma_devices():
            if each.index in ours:
                with turn(node):
                    node.insist(functools.partial(inner.move_rdma, each.index, node.home))


def _wait(node: Node, record: ledger.Record) -> None:
    """Wait until the RDMA devices are in the host: the kernel dismantles a namespace in its own time.

    A device's character devices exist while it does, in any namespace: if there are none, no device can come back.
    """
    folder = node.tree.pci(record.pci)

    def is_away() -> bool:
        return _lacking(node, record) and infiniband.read(str(folder), sysfs.names(folder)) is not None

    if polling.until(is_away, operator.not_, node.patience):
        raise errors.BusyError(
            f"RDMA device {record.rdma[0].name} of VF {record.pci} is neither in the host nor in the pod",
            "its namespace is still held by a process; try again later",
        )


def _rename(net: kernel.Kernel, record: ledger.Record) -> None:
    """Give the devices their names back, except a name that another device has taken meanwhile."""
    names = {each.index: each.name for each in record.rdma}
    for each in net.rdma_devices():
        if names.get(each.index, each.name) != each.name:
            try:
                net.rename_rdma(each.index, names[each.index])
            except errors.KernelError as error:
                if error.errno != errno.EEXIST:
                    raise


def would_change(node: Node, pci: devices.PciAddress) -> bool:
    """Report whether a move would change the device nodes of the VF's RDMA devices. Waits for another VF's move."""
    with turn(node):
        return rdma_nodes.lower_free(node.tree, infiniband.nodes(node.tree.pci(pci))) is not None


def may_settle(node: Node) -> bool:
    """Report whether the numbers of device nodes have a gap that a move could fill."""
    with turn(node):
        if not rdma_nodes.has_gap(node.tree):
            return False
    with node.kernel() as net:
        return net.rdma_is_exclusive()


def is_idle(node: Node, pci: devices.PciAddress) -> bool:
    """Report whether this is a VF in the host whose RDMA devices the host does not use: its netdev is down.

    A netdev that is down carries no RDMA. InfiniBand always counts as used, since its netdev is made of its RDMA device
    and would end.
    """
    try:
        vf = node.lookup(pci)
    except errors.DeviceError:  # a PF, a plain NIC
        return False
    netdev = node.tree.netdev(pci)
    if netdev is None or vf.link_type is not devices.LinkType.ETHER:
        return False
    with node.kernel() as net, contextlib.suppress(errors.KernelError):
        return not net.link(netdev.index).up
    return False


def move_down(node: Node, pci: devices.PciAddress) -> None:
    """Make the kernel give the VF's RDMA devices the lowest free numbers, by a move from the host to the host.

    Raises UnsupportedError if the driver cannot do it, KernelError.
    """
    with turn(node), node.kernel() as net:
        names, before = infiniband.names(node.tree.pci(pci)), infiniband.nodes(node.tree.pci(pci))
        for each in net.rdma_devices():
            if each.name in names:
                _send(net, each, node.home)
    _log.info("VF %s now has %s instead of %s", pci, ", ".join(infiniband.nodes(node.tree.pci(pci))), ", ".join(before))
