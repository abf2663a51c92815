"""Take a VF back, wherever it is and in whatever state: the one way for DEL, for undo and for repair.

Every step looks before it acts. Running it twice, or again after a crash between any two of its requests, ends the
same: the VF is in the host, under its host name, down, at its declared settings or else the baseline, with the address
and MTU it had.
"""

import contextlib
import errno
import functools
import logging

import msgspec

from sriov import devices, errors, polling, settings, timing
from sriov.attachment import cleaning, host_names, netdevs, rdma, rebound, vf_config, wishes
from sriov.attachment.node import AttachmentStep, Node
from sriov.linux import kernel, netns
from sriov.linux.netdev import netdev_settings
from sriov.state import ledger, vf_identity

_DECLARED = frozenset({settings.Setting.TRUST, settings.Setting.SPOOFCHK})
_log = logging.getLogger(__name__)
_MOVES = 5  # tries to move a VF out of a pod that keeps adding altnames to it
_OFF = kernel.Change(promisc=False, allmulti=False, noarp=False)
_NOT_HANDED_OUT = "no pod gets it before it is clean"


class _Case(msgspec.Struct, frozen=True):
    """One VF to take back.

    `net` is the host's kernel. `rest` is what the PF states of a VF without owner. `noted` are the settings of the
    VF's netdev when it was first seen; None if nobody saw it before it had an owner.
    """

    node: Node
    net: kernel.Kernel
    book: ledger.Ledger
    vf: devices.VF
    record: ledger.Record
    home: vf_identity.VfIdentity
    rest: settings.VfSettings
    pod: netns.Netns | None
    noted: kernel.LinkState | None

    @property
    def altnames(self) -> frozenset[str]:
        """The altnames that the VF had before it had an owner."""
        return netdev_settings.altnames(self.noted or {})


def detach(node: Node, book: ledger.Ledger, record: ledger.Record, pod: netns.Netns | None) -> None:
    """Move the VF to the host, scrub it, and remove its record. `pod` is None if the namespace is gone.

    Raises BusyError if the VF cannot be found, DriverError if it has lost its netdev, KernelError if a request fails;
    the record then stays, with the reason in `problem`.
    """
    try:
        _detach(node, book, record, pod)
    except errors.SriovError as error:
        _remember(book, record, str(error))
        raise


def keep_back(node: Node, book: ledger.Ledger, record: ledger.Record) -> None:
    """Write into the record of a VF with another driver that it has no netdev to give, though its owner may use it."""
    if (lost := rebound.problem(node.tree, record)) is not None:
        _remember(book, record, str(lost))


def _remember(book: ledger.Ledger, record: ledger.Record, problem: str) -> None:
    """Write into the record what keeps the VF from others. A record that is another's, or damaged, is left alone."""
    if record.problem != problem and book.read(record.pci) == record:
        with contextlib.suppress(errors.LedgerError):
            book.write(msgspec.structs.replace(record, problem=problem))


def _detach(node: Node, book: ledger.Ledger, record: ledger.Record, pod: netns.Netns | None) -> None:
    if record.host_link is not None:
        with node.kernel() as net:
            netdevs.delete_pair(net, record.host_link.name, record.host_link.address)
    vf = _still_there(node, record)
    if vf is None:
        book.remove(record.pci)
        return
    rest, lost = book.defaults.of(node.tree, record.pci).over(settings.BASELINE), rebound.problem(node.tree, record)
    with node.kernel() as net:
        # RDMA first: what is open on the device ends with the move, so that no RDMA frame leaves untagged either.
        rdma.bring_home(node, net, record, pod)
        if record.home is not None and lost is None and _has_netdev(vf):
            noted = book.identities.state(node.tree, vf.pci)
            case = _Case(node, net, book, vf, record, record.home, rest, pod, noted)
            link = _at_home(case)
            fetched = _fetch(case) if link is None else None
            _scrub(case, fetched or _named(case, link or _wait(case)).index)
        else:
            _state(node, net, vf, record, _at_rest(vf, record, rest))
    if lost is not None:
        raise lost
    book.remove(record.pci)


def _still_there(node: Node, record: ledger.Record) -> devices.VF | None:
    """Return the VF; None if the PCI device went away (numvfs changed, hot-unplug), even if another has its address.

    Nothing is left to restore then: a new VF is at the baseline, and its name and address are its own. Raises
    DeviceError if the same device is there but cannot be read, as when there are no free descriptors.
    """
    if record.device not in (0, node.tree.birth(record.pci)):
        return None
    try:
        return node.lookup(record.pci)
    except errors.DeviceError:
        if record.device:
            raise
        return None


def is_inside(node: Node, pci: devices.PciAddress, pod: netns.Netns) -> bool:
    """Report whether the VF is in this namespace, by its PCI address alone."""
    with node.kernel() as net, net.inside(pod) as inner:
        return any(link.parent == pci for link in inner.links())


def _has_netdev(vf: devices.VF) -> bool:
    """Report whether the VF has a netdev to move to the host; one bound to a userspace driver meanwhile has none."""
    return vf.netdev is not None or (vf.driver is not None and not vf.userspace)


def _at_home(case: _Case) -> kernel.Link | None:
    index = case.node.tree.ifindex(case.vf.pci)
    return None if index is None else netdevs.if_there(case.net, index)


def _fetch(case: _Case) -> int | None:
    """Move the VF out of the pod; returns its index in the host, None if it is not in the pod.

    The move closes the link and drops its addresses, so no frame leaves untagged.
    """
    if case.pod is None:
        return None
    with case.net.inside(case.pod) as inner:
        link = _find(case, inner, case.pod)
        if link is None:
            return None
        with timing.timed(AttachmentStep.MOVE):
            as_called = _move_home(case, inner, link)
    if not as_called:
        return _named(case, _at_home(case) or _wait(case)).index
    # Not by its name: udev may have given it another already.
    return case.node.tree.ifindex(case.vf.pci) or _wait(case).index


def _move_home(case: _Case, inner: kernel.Kernel, link: kernel.Link) -> bool:
    """Move the VF to the host, without the altnames it was given in the pod; True if it has its host name there.

    An altname that is taken in the host, or that is the VF's own name there, would stop the move (netdev_name_in_use()
    in net/core/dev.c), and any other would block a pod that wants an interface of that name. Root in the pod may be
    adding altnames at this moment, so after a refusal the VF is looked at again and the move retried.
    """
    name = case.home.name
    for _ in range(_MOVES):
        host_names.drop_altnames(inner, link, case.altnames)
        try:
            case.node.insist(functools.partial(inner.move, link.index, case.node.home, name))
            return True
        except errors.KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            refused = error
        found = netdevs.if_there(inner, link.index)
        if found is None or found.parent != link.parent:  # it has moved, and was refused its name there
            return False
        link, name = found, _free_name(case)
    raise refused


def _find(case: _Case, inner: kernel.Kernel, pod: netns.Netns) -> kernel.Link | None:
    """Find the VF inside the pod by its PCI address, not by its name, which anybody in the pod may have changed.

    A kernel that reports no link's parent leaves only names: they count only in the very namespace the VF moved to.
    """
    ifname = case.record.owner.ifname
    link = netdevs.if_there(inner, ifname)
    if link is not None and link.parent == case.vf.pci:
        return link
    names = (case.home.name, ifname) if pod.identity == case.record.netns else ()
    return netdevs.find(inner, case.vf.pci, () if netdevs.has_parents(case.net, case.noted) else names)


def _wait(case: _Case) -> kernel.Link:
    """Wait until the VF is in the host: the kernel dismantles a namespace in the background, in its own time."""
    link = polling.until(lambda: _at_home(case), bool, case.node.patience)
    if link is not None:
        return link
    raise errors.BusyError(
        f"VF {case.vf.pci} of {case.record.owner} is neither in the host nor in the pod",
        "its namespace is still held by a process; try again later",
    )


def _named(case: _Case, link: kernel.Link) -> kernel.Link:
    """Take the VF down and give it its host name: a VF that came back by itself may still have the pod's name.

    A VF that was fetched came back under its host name; if it has another one since, udev gave it that.
    """
    link = case.node.insist(functools.partial(_down, case, link))
    host_names.drop_altnames(case.net, link, case.altnames)
    if link.name != case.home.name and (name := _free_name(case)) != link.name:
        try:
            case.node.insist(functools.partial(case.net.rename, link.index, name))
        except errors.KernelError as error:
            if error.errno != errno.EEXIST or name == devices.fallback_name(case.vf.pci):
                raise
            case.net.rename(link.index, devices.fallback_name(case.vf.pci))
    return link


def _free_name(case: _Case) -> str:
    return host_names.free(case.node, case.net, case.book, case.vf.pci, case.home.name)


def _down(case: _Case, link: kernel.Link) -> kernel.Link:
    if not link.up:
        return link
    case.net.set_link(link.index, kernel.Change(up=False))
    return case.net.link(link.index)


def _scrub(case: _Case, index: int) -> None:
    """Restore the VF to what it was when it was first seen.

    What cannot be set back ends with the netdev: binding the driver again makes a new one. The same is done if a
    request is refused just as it was in a former try. Raises UncleanError if a former owner's settings survive even
    that, or if nobody may bind drivers.
    """
    try:
        left = _set_back(case, index)
    except errors.KernelError as error:
        if case.record.problem != str(error):
            raise
        try:
            index = _bound_anew(case, str(error))
        except errors.KernelError:
            raise error from None
        left = _set_back(case, index)
    if left:
        index = _without_leftovers(case, left)
        _set_back(case, index)
        if stuck := cleaning.remaining(case.net, index, case.noted, left):
            raise errors.UncleanError(
                f"VF {case.vf.pci} still has a former owner's {netdev_settings.shown(stuck)}, even after a rebind",
                f"recreate the VFs of its PF, or restart the node; {_NOT_HANDED_OUT}",
            )
    if left or case.noted is None:
        case.book.identities.note(case.node.tree, case.vf.pci, case.net.state(index))


def _without_leftovers(case: _Case, left: kernel.LinkState) -> int:
    why = f"it came back with changed {netdev_settings.shown(left.keys())}"
    try:
        return _bound_anew(case, why)
    except errors.KernelError as error:
        raise errors.UncleanError(
            f"VF {case.vf.pci} cannot be made clean: {why}, and {error.message}",
            f"bind it to its driver again; {_NOT_HANDED_OUT}",
        ) from error


def _bound_anew(case: _Case, why: str) -> int:
    """Have the driver bound again; returns the index of the new netdev."""
    _log.warning("binding VF %s to its driver again: %s", case.vf.pci, why)
    case.node.rebind(case.vf.pci)
    return _named(case, _at_home(case) or _wait(case)).index


def _set_back(case: _Case, index: int) -> kernel.LinkState:
    """Set the VF back; returns the settings that could not be.

    Each request may find the driver busy: a VF that its PF is resetting refuses everything meanwhile.
    """
    link, left = case.node.insist(functools.partial(_compared, case, index))
    _state(case.node, case.net, case.vf, case.record, _at_rest(case.vf, case.record, case.rest))
    if case.vf.infiniband:
        _set_infiniband_back(case, link)
        return left
    configure = functools.partial(netdevs.configure, case.net, index)
    seen = case.node.heard.seen(case.node.tree, case.vf)
    if case.vf.pf is not None and link.address == case.home.address:
        # As at ADD: igb has forgotten the VF's own MAC, and the VF has to report it again.
        aside = kernel.Change(address=settings.aside(case.home.address))
        if not case.node.insist(functools.partial(configure, aside, trial=True)):
            seen = None
    clean = msgspec.structs.replace(_OFF, address=case.home.address, mtu=case.home.mtu)
    case.node.insist(functools.partial(configure, clean))
    case.node.heard.note(case.vf.pci, seen)
    return left


def _compared(case: _Case, index: int) -> tuple[kernel.Link, kernel.LinkState]:
    """Return the VF, down, and the settings that could not be set back."""
    link, found = cleaning.look_when_down(case.net, index, case.noted)
    return link, cleaning.clean(case.net, index, case.noted, found)


def _set_infiniband_back(case: _Case, link: kernel.Link) -> None:
    """Set an InfiniBand VF back. Its driver makes its address, of the GUID that it reads when it is bound."""
    own, now = settings.guid_of(case.home.address), settings.guid_of(link.address)
    index = link.index
    if case.record.wanted.guid and now != own:
        index = _bound_anew(case, f"its GUID is {now} and not its own, {own}")
    change = msgspec.structs.replace(_OFF, mtu=case.home.mtu)
    case.node.insist(functools.partial(netdevs.configure, case.net, index, change))


def _at_rest(vf: devices.VF, record: ledger.Record, rest: settings.VfSettings) -> wishes.Wish:
    """Return what the PF is to state of a VF without owner."""
    former = _former(record, rest)
    if vf.infiniband:
        guid = settings.guid_of(record.home.address if record.home else record.host_guid)
        own = msgspec.structs.replace(rest, guid=guid if record.wanted.guid else "")
        return wishes.of_infiniband(own, frozenset(), former)
    if record.home is None:
        return wishes.of_userspace(rest, frozenset(), record.host_mac, former)
    return wishes.Wish(rest, former=former)


def _state(node: Node, net: kernel.Kernel, vf: devices.VF, record: ledger.Record, wish: wishes.Wish) -> None:
    """State the wish; a declared setting that the driver now refuses becomes the baseline, so that the pod can end."""
    target = node.target(vf, record.home.address if record.home else settings.NO_MAC)
    if target is None:
        return
    with timing.timed(AttachmentStep.PF):
        passed_over = vf_config.state(net, target, wish, node.unsupported, node.insisting())
    if undone := passed_over & settings.asked(wish.wanted) & _DECLARED:
        named = ", ".join(sorted(each.value for each in undone))
        _log.error("VF %s is at the baseline and not as declared: %s", vf.pci, named)


def _former(record: ledger.Record, rest: settings.VfSettings) -> settings.VfSettings:
    """Return the settings the owner had, which may still be there, without those that the driver refused it."""
    return settings.taken(record.wanted, rest, frozenset(record.passed_over or ()))
