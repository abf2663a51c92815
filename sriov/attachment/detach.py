"""Taking a VF back, from wherever it is and whatever state it is in. One way for DEL, for undo and for repair.

Every step looks before it acts, so running it twice, or after a crash between any two of its requests, ends the same:
the VF in the host, under its host name, down, at what is declared of it or else the baseline, with the address and MTU
it had.
"""

import contextlib
import dataclasses
import errno
import functools
import logging

import msgspec

from sriov import devices, errors, polling, settings, timing
from sriov.attachment import cleaning, host_names, netdevs, rdma, rebound, vf_config, wishes
from sriov.attachment.node import Node
from sriov.linux import kernel, netns
from sriov.linux.netdev import netdev_settings
from sriov.state import ledger, vf_identity

_DECLARED = frozenset({settings.Setting.TRUST, settings.Setting.SPOOFCHK})
_log = logging.getLogger(__name__)
_MOVES = 5  # tries to leave a pod that holds the VF back
_OFF = kernel.Change(promisc=False, allmulti=False, noarp=False)
_NOT_HANDED_OUT = "it is not handed out before it is clean"


@dataclasses.dataclass(frozen=True, slots=True)
class _Case:
    """One VF to bring home.

    `net` is the host's kernel; `rest` is what the PF is to state of a VF that nobody has. `noted` are the settings of
    its netdev when it was first seen, None where nobody saw it before it had an owner.
    """

    node: Node
    net: kernel.Kernel
    book: ledger.Ledger
    vf: devices.VF
    record: ledger.Record
    home: vf_identity.Home
    rest: settings.VfSettings
    pod: netns.Netns | None
    noted: kernel.LinkState | None

    @property
    def altnames(self) -> frozenset[str]:
        """Those that the VF had before it had an owner."""
        return netdev_settings.altnames(self.noted or {})


def detach(node: Node, book: ledger.Ledger, record: ledger.Record, pod: netns.Netns | None) -> None:
    """Bring the VF home, scrub it, and remove its record. `pod` is None where the namespace is gone.

    Raises BusyError when the VF cannot be found, DriverError when it has no netdev any more, KernelError when a request
    fails; the record stays then, and says why.
    """
    try:
        _detach(node, book, record, pod)
    except errors.SriovError as error:
        _remember(book, record, str(error))
        raise


def keep_back(node: Node, book: ledger.Ledger, record: ledger.Record) -> None:
    """Note of a VF whose driver was changed that it has no netdev to give, though its owner may live and use it."""
    if (lost := rebound.problem(node.tree, record)) is not None:
        _remember(book, record, str(lost))


def _remember(book: ledger.Ledger, record: ledger.Record, problem: str) -> None:
    """What keeps the VF from others, for whoever looks. A record that is not ours, or is damaged, stays as it is."""
    if record.problem != problem and book.read(record.pci) == record:
        with contextlib.suppress(errors.LedgerError):
            book.write(msgspec.structs.replace(record, problem=problem))


def _detach(node: Node, book: ledger.Ledger, record: ledger.Record, pod: netns.Netns | None) -> None:
    vf = _still_there(node, record)
    if vf is None:
        book.remove(record.pci)
        return
    rest, lost = book.defaults.of(node.tree, record.pci).over(settings.BASELINE), rebound.problem(node.tree, record)
    with node.kernel() as net:
        # First: what is open on the RDMA device ends with the move, so that no RDMA frame leaves untagged either.
        rdma.bring_home(node, net, record, pod)
        if record.home is not None and lost is None and _has_netdev(vf):
            noted = book.homes.state(node.tree, vf.pci)
            case = _Case(node, net, book, vf, record, record.home, rest, pod, noted)
            link = _at_home(case)
            fetched = _fetch(case) if link is None else None
            _scrub(case, fetched or _named(case, link or _wait(case)))
        else:
            _state(node, net, vf, record, _at_rest(vf, record, rest))
    if lost is not None:
        raise lost
    book.remove(record.pci)


def _still_there(node: Node, record: ledger.Record) -> devices.VF | None:
    """None where the PCI device went away (numvfs changed, hot-unplug), also if another has its address by now.

    Nothing is left to restore then: a new VF is at the baseline, and its name and address are its own. Raises
    DeviceError where the very device is there and only cannot be read, as without free descriptors.
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
    """Whether the VF is in this namespace, by its PCI address alone."""
    with node.kernel() as net, net.inside(pod) as inner:
        return any(link.parent == pci for link in inner.links())


def _has_netdev(vf: devices.VF) -> bool:
    """A VF that was bound to another driver meanwhile has no netdev that could come home."""
    return vf.netdev is not None or (vf.driver is not None and not vf.userspace)


def _at_home(case: _Case) -> kernel.Link | None:
    netdev = case.node.tree.netdev(case.vf.pci)
    return None if netdev is None else netdevs.if_there(case.net, netdev.index)


def _fetch(case: _Case) -> kernel.Link | None:
    """Move the VF out of the pod. The move closes it and drops its addresses, so no frame leaves untagged."""
    if case.pod is None:
        return None
    with case.net.inside(case.pod) as inner:
        link = _find(case, inner, case.pod)
        if link is None:
            return None
        with timing.timed(timing.Step.MOVE):
            as_called = _move_home(case, inner, link)
    link = _at_home(case) or _wait(case)  # not by its name: udev may have given it another already
    if not as_called:
        return _named(case, link)
    host_names.drop_altnames(case.net, link, case.altnames)  # one that was added between the two requests
    return link


def _move_home(case: _Case, inner: kernel.Kernel, link: kernel.Link) -> bool:
    """Without the altnames that it was given in the pod; whether it came under its host name.

    One that is taken in the host, or is the VF's own name there, would keep it from coming (netdev_name_in_use() in
    net/core/dev.c), and any other would be in the way of a pod that has such an interface. Who is root in the pod may
    be adding them at this moment, so a refusal is looked into and not believed.
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
    """The VF inside the pod, by its PCI address and not by its name, which anybody in there may have changed.

    On a kernel that says no link's parent, the pod must be the very namespace the VF was moved to.
    """
    ifname = case.record.owner.ifname
    link = netdevs.if_there(inner, ifname)
    if link is not None and link.parent == case.vf.pci:
        return link
    names = (case.home.name, ifname) if pod.identity == case.record.netns else ()
    return netdevs.find(inner, case.vf.pci, () if netdevs.has_parents(case.net, case.noted) else names)


def _wait(case: _Case) -> kernel.Link:
    """The kernel takes a namespace apart in the background and brings the VF home in its own time."""
    link = polling.until(lambda: _at_home(case), bool, case.node.patience)
    if link is not None:
        return link
    raise errors.BusyError(
        f"VF {case.vf.pci} of {case.record.owner} is neither in the host nor in the pod",
        "its namespace is still held by a process; try again later",
    )


def _named(case: _Case, link: kernel.Link) -> kernel.Link:
    """Under its host name: it has come home by itself, perhaps under the pod's.

    One that was fetched came under its host name, and if it has another since, then udev gave it that.
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


def _scrub(case: _Case, link: kernel.Link) -> None:
    """As it was when it was first seen.

    What cannot be set back ends with the netdev, which a driver that is bound anew makes afresh; so does a refusal that
    has outlasted a former try. Raises UncleanError where even then a former owner shows, or nobody may bind drivers.
    """
    try:
        left = _set_back(case, link)
    except errors.KernelError as error:
        if case.record.problem != str(error):
            raise
        try:
            link = _bound_anew(case, str(error))
        except errors.KernelError:
            raise error from None
        left = _set_back(case, link)
    if left:
        link = _without_leftovers(case, left)
        _set_back(case, link)
        if stuck := cleaning.remaining(case.net, link.index, case.noted, left):
            raise errors.UncleanError(
                f"VF {case.vf.pci} still has a former owner's {netdev_settings.shown(stuck)}, also with a new driver",
                f"make the VFs of its PF anew, or restart the node: {_NOT_HANDED_OUT}",
            )
    if left or case.noted is None:
        case.book.homes.note(case.node.tree, case.vf.pci, case.net.state(link.index))


def _without_leftovers(case: _Case, left: kernel.LinkState) -> kernel.Link:
    why = f"it came home with another {netdev_settings.shown(left.keys())}"
    try:
        return _bound_anew(case, why)
    except errors.KernelError as error:
        raise errors.UncleanError(
            f"VF {case.vf.pci} cannot be made clean: {why}, and {error.message}",
            f"bind it to its driver anew; {_NOT_HANDED_OUT}",
        ) from error


def _bound_anew(case: _Case, why: str) -> kernel.Link:
    _log.warning("VF %s is bound to its driver anew: %s", case.vf.pci, why)
    case.node.rebind(case.vf.pci)
    return _named(case, _at_home(case) or _wait(case))


def _set_back(case: _Case, link: kernel.Link) -> kernel.LinkState:
    """Returns what could not be.

    Each request may find the driver busy: a VF that its PF resets for what it is told refuses all else meanwhile.
    """
    link = case.node.insist(functools.partial(_down, case, link))
    left = case.node.insist(functools.partial(cleaning.clean, case.net, link.index, case.noted))
    _state(case.node, case.net, case.vf, case.record, _at_rest(case.vf, case.record, case.rest))
    if case.vf.infiniband:
        _set_infiniband_back(case, link)
        return left
    configure = functools.partial(netdevs.configure, case.net, link.index)
    seen = case.node.heard.seen(case.node.tree, case.vf)
    if case.vf.pf is not None and link.address == case.home.address:
        # As at ADD: igb has forgotten the VF's own MAC, and the VF has to say it again.
        aside = kernel.Change(address=settings.aside(case.home.address))
        if not case.node.insist(functools.partial(configure, aside, trial=True)):
            seen = None
    clean = dataclasses.replace(_OFF, address=case.home.address, mtu=case.home.mtu)
    case.node.insist(functools.partial(configure, clean))
    case.node.heard.note(case.vf.pci, seen)
    return left


def _set_infiniband_back(case: _Case, link: kernel.Link) -> None:
    """Its address is its driver's affair, which has read the GUID when it was bound."""
    own, now = settings.guid_of(case.home.address), settings.guid_of(link.address)
    if case.record.wanted.guid and now != own:
        link = _bound_anew(case, f"its GUID is {now} and not its own, {own}")
    change = dataclasses.replace(_OFF, mtu=case.home.mtu)
    case.node.insist(functools.partial(netdevs.configure, case.net, link.index, change))


def _at_rest(vf: devices.VF, record: ledger.Record, rest: settings.VfSettings) -> wishes.Wish:
    """What the PF is to state of the VF, that nobody has."""
    former = _former(record, rest)
    if vf.infiniband:
        guid = settings.guid_of(record.home.address if record.home else record.host_guid)
        own = dataclasses.replace(rest, guid=guid if record.wanted.guid else "")
        return wishes.of_infiniband(own, frozenset(), former)
    if record.home is None:
        return wishes.of_userspace(rest, frozenset(), record.host_mac, former)
    return wishes.Wish(rest, former=former)


def _state(node: Node, net: kernel.Kernel, vf: devices.VF, record: ledger.Record, wish: wishes.Wish) -> None:
    """A driver that has come to refuse what is declared must not keep a pod from ending: it hears the baseline."""
    target = node.target(vf, record.home.address if record.home else settings.NO_MAC)
    if target is None:
        return
    with timing.timed(timing.Step.PF):
        passed_over = vf_config.state(net, target, wish, node.unsupported, node.insisting())
    if undone := passed_over & settings.asked(wish.wanted) & _DECLARED:
        named = ", ".join(sorted(each.value for each in undone))
        _log.error("VF %s is left at the baseline and not as declared: %s", vf.pci, named)


def _former(record: ledger.Record, rest: settings.VfSettings) -> settings.VfSettings:
    """What the owner had of the VF's settings, which may still be there; what the driver refused it, it had not."""
    return settings.taken(record.wanted, rest, frozenset(record.passed_over or ()))
