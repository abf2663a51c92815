"""Taking a VF back, from wherever it is and whatever state it is in. One way for DEL, for undo and for repair.

Every step looks before it acts, so running it twice, or after a crash between any two of its requests, ends the same:
the VF in the host, under its host name, down, at the baseline, with the address and MTU it had.
"""

import errno
import time

from sriov import devices, errors, kernel, ledger, netns, settings, vfconfig
from sriov.node import Node

_POLL_SECONDS = 0.02


def detach(node: Node, book: ledger.Ledger, record: ledger.Record, pod: netns.Netns | None) -> None:
    """Bring the VF home, scrub it, and remove its record. `pod` is None where the namespace is gone.

    Raises BusyError when the VF cannot be found, KernelError when a request fails; the record stays then.
    """
    try:
        vf = node.lookup(record.pci)
    except errors.DeviceError:
        # The PCI device went away (numvfs changed, hot-unplug): nothing is left to restore.
        book.remove(record.pci)
        return
    with node.kernel() as net:
        link = _at_home(node, net, record) or _fetch(node, net, record, pod) or _wait(node, net, record)
        _scrub(node, net, vf, record, link)
    book.remove(record.pci)


def _at_home(node: Node, net: kernel.Kernel, record: ledger.Record) -> kernel.Link | None:
    netdev = node.tree.netdev(record.pci)
    return None if netdev is None else _if_there(net, netdev.index)


def _fetch(node: Node, net: kernel.Kernel, record: ledger.Record, pod: netns.Netns | None) -> kernel.Link | None:
    """Move the VF out of the pod. The move closes it and drops its addresses, so no frame leaves untagged."""
    if pod is None:
        return None
    with net.inside(pod) as inner:
        link = _find(inner, record, pod)
        if link is None:
            return None
        name = _free_name(net, record)
        inner.move(link.index, node.home, name)
    return net.link(name)


def _find(inner: kernel.Kernel, record: ledger.Record, pod: netns.Netns) -> kernel.Link | None:
    """The VF inside the pod, by its PCI address and not by its name, which anybody in there may have changed.

    Where the kernel does not say a link's parent, the pod must be the very namespace the VF was moved to.
    """
    link = _if_there(inner, record.owner.ifname)
    if link is not None and _is_ours(link, record, pod):
        return link
    return next((each for each in inner.links() if _is_ours(each, record, pod)), None)


def _is_ours(link: kernel.Link, record: ledger.Record, pod: netns.Netns) -> bool:
    if link.parent is not None:
        return link.parent == record.pci
    return pod.identity == record.netns and link.name in {record.owner.ifname, record.home.name}


def _wait(node: Node, net: kernel.Kernel, record: ledger.Record) -> kernel.Link:
    """The kernel takes a namespace apart in the background and brings the VF home in its own time."""
    deadline = time.monotonic() + node.patience
    while time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        if link := _at_home(node, net, record):
            return link
    raise errors.BusyError(
        f"VF {record.pci} of container {record.owner.container_id} is neither in the host nor in the pod",
        "its namespace is still held by a process; try again later",
    )


def _scrub(node: Node, net: kernel.Kernel, vf: devices.VF, record: ledger.Record, link: kernel.Link) -> None:
    if link.up:
        net.set_link(link.index, up=False)
    if link.name != record.home.name and (name := _free_name(net, record)) != link.name:
        net.rename(link.index, name)
    target = node.target(vf, record.home.address)
    vfconfig.state(net, target, settings.BASELINE, node.unsupported)
    net.set_link(link.index, address=record.home.address, mtu=record.home.mtu)


def _free_name(net: kernel.Kernel, record: ledger.Record) -> str:
    """The VF's host name; where another link took it meanwhile, a name made of its PCI address, which nobody has."""
    holder = _if_there(net, record.home.name)
    if holder is None or holder.parent == record.pci:
        return record.home.name
    return "vf" + record.pci.replace(":", "").replace(".", "")


def _if_there(net: kernel.Kernel, ref: kernel.LinkRef) -> kernel.Link | None:
    try:
        return net.link(ref)
    except errors.KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
