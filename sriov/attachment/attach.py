"""Attach a VF to a pod: write its record, carry out its plan, and undo all of it if a step fails."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Set

import msgspec

from sriov import errors, polling, settings, timing
from sriov.attachment import cleaning, detach, netdevs, plans, rdma, vf_config, wishes
from sriov.attachment.node import AttachmentStep, Node
from sriov.linux import kernel, netns, nsid
from sriov.state import ledger, vf_identity

_log = logging.getLogger(__name__)

_KINDS = {
    plans.StateVf: AttachmentStep.PF,
    plans.Move: AttachmentStep.MOVE,
    plans.MoveRdma: AttachmentStep.MOVE,
    plans.Configure: AttachmentStep.POD,
    plans.Administer: AttachmentStep.PF,
    plans.Rebind: AttachmentStep.PF,
}


class Precautions(msgspec.Struct, frozen=True):
    """Calls with the pod's kernel: `before` the netdev is there, and when it has `arrived` and is not up yet.

    `before` is also given what is recorded.

    `link_arrived` is the same as `arrived` for the host link, which others make.
    """

    before: Callable[[kernel.Kernel, ledger.PolicyHold], None]
    arrived: Callable[[kernel.Kernel], None]
    link_arrived: Callable[[kernel.Kernel], None]


def attach(node: Node, book: ledger.Ledger, request: plans.Request, pod: netns.Netns) -> kernel.Link:
    """Attach the VF and return its netdev in the pod; `attached` has the guarantees on failure."""
    with attached(node, book, request, pod) as (_, link):
        return link


@contextlib.contextmanager
def attached(
    node: Node, book: ledger.Ledger, request: plans.Request, pod: netns.Netns, guard: Precautions | None = None
) -> Iterator[tuple[kernel.Kernel, kernel.Link]]:
    """Write the record and carry out the plan; yields the pod's kernel, open inside the block, and the VF's netdev.

    `guard` is what has to be done in the pod for it.

    After a failure, also one of the block, the VF is in the host again, at the baseline, and its record is removed. If
    taking it back fails as well, the record stays for the next call that sees the VF. Raises what the failed step
    raised.
    """
    netdev = node.tree.netdev(request.vf.pci)
    if netdev is None:
        raise node.undecided(request.vf.pci) or errors.BusyError(
            f"VF {request.vf.pci} has no netdev in the host's namespace",
            "another container may hold it; try again later",
        )
    with node.kernel() as net, net.inside(pod) as inner, contextlib.ExitStack() as stack:
        home = book.identities.settle(
            node.tree, request.vf.pci, netdev, functools.partial(cleaning.first_look, net, netdev.index)
        )
        target = node.target(request.vf, home.address)
        heard = netdev.address == home.address and node.heard.is_heard(node.tree, request.vf)
        planned = plans.plan(target, msgspec.structs.replace(netdev, address=home.address), request, heard=heard)
        hold = request.policy and _numbered(inner, request.policy)
        record = _record(node, msgspec.structs.replace(request, policy=hold), pod, target, home=home)
        _refuse_taken_name(inner, request.owner.ifname)
        book.write(record)
        written = [record]
        stack.callback(lambda: undo(node, book, written[-1], pod))
        if guard is not None and hold is not None:
            guard.before(inner, hold)
        passed_over: set[settings.Setting] = set()
        for step in planned:
            with timing.timed(_KINDS[type(step)]):
                passed_over |= _carry_out(step, node, net, inner, pod)
            if guard is not None and isinstance(step, plans.Move):
                guard.arrived(inner)
        written.append(_noted(book, record, passed_over))
        yield inner, _with_its_mac(node, inner, request)
        stack.pop_all()


def attach_userspace(node: Node, book: ledger.Ledger, request: plans.Request, pod: netns.Netns) -> str:
    """Attach a VF that has a userspace driver: it has no netdev and does not move; its PF is told everything.

    Returns the MAC that the PF has for the VF, by which a virtual machine finds its NIC (NO_MAC for none, or if it
    is unknown). If the network names no MAC, it is the one that the VF had before.
    """
    target = node.target(request.vf, settings.NO_MAC)
    with node.kernel() as net:
        record = _record(node, request, pod, target, mark=net.mark(pod))
        if target is None:
            vf_config.refuse_without_pf(request.wanted, request.asked, has_netdev=False)
            book.write(record)
            return settings.NO_MAC
        before = _before(net, target)
        record = msgspec.structs.replace(
            record, host_mac=before and before.mac, host_guid=(before and before.guid) or ""
        )
        with contextlib.ExitStack() as stack:
            book.write(record)
            written = [record]
            stack.callback(lambda: undo(node, book, written[-1], pod))
            if request.vf.infiniband:
                wish = wishes.of_infiniband(request.wanted, request.asked)
            else:
                wish = wishes.of_userspace(request.wanted, request.asked, record.host_mac)
            passed_over = vf_config.state(net, target, wish, node.unsupported, node.insisting())
            _noted(book, record, passed_over)
            stack.pop_all()
    return wish.wanted.mac


def _before(net: kernel.Kernel, target: vf_config.Target) -> settings.VfSettings | None:
    """Read the PF's settings of a VF without owner; None if they cannot be read, as on a PF with more than 330 VFs."""
    try:
        return net.vf(target.pf, target.vf)
    except errors.KernelError as error:
        _log.warning("the MAC of VF %d of link %d is left unchanged: %s", target.vf, target.pf, error)
        return None


def _record(
    node: Node,
    request: plans.Request,
    pod: netns.Netns,
    target: vf_config.Target | None,
    *,
    home: vf_identity.VfIdentity | None = None,
    mark: nsid.Mark | None = None,
) -> ledger.Record:
    expected = frozenset() if target is None else node.unsupported.of(target) - request.asked
    return ledger.Record(
        pci=request.vf.pci,
        owner=request.owner,
        netns=pod.identity,
        home=home,
        wanted=request.wanted,
        mtu=request.mtu or (home.mtu if home else 0),
        mark=mark,
        rdma=request.rdma,
        device=node.tree.birth(request.vf.pci),
        ipam=request.ipam,
        driver=request.vf.driver or "",
        passed_over=_in_order(expected),
        pinned=(target and home and plans.pinned(request, home.address)) or "",
        cookie=request.cookie,
        services_mode=request.services_mode,
        services_reason=request.services_reason,
        host_link=request.host_link,
        policy=request.policy,
    )


def _noted(book: ledger.Ledger, record: ledger.Record, passed_over: Set[settings.Setting]) -> ledger.Record:
    """Write the settings that the driver passed over into the record, if they are not the expected ones."""
    if record.passed_over != _in_order(passed_over):
        record = msgspec.structs.replace(record, passed_over=_in_order(passed_over))
        book.write(record)
    return record


def _in_order(which: Set[settings.Setting]) -> tuple[settings.Setting, ...]:
    return tuple(sorted(which, key=lambda each: each.value))


def _carry_out(
    step: plans.Step, node: Node, net: kernel.Kernel, inner: kernel.Kernel, pod: netns.Netns
) -> frozenset[settings.Setting]:
    """Carry out one step; returns the settings that were passed over, of those that only a PF can set."""
    match step:
        case plans.StateVf():
            wish = wishes.Wish(step.wanted, step.asked)
            if step.infiniband:
                wish = wishes.of_infiniband(step.wanted, step.asked)
            return vf_config.state(net, step.target, wish, node.unsupported, node.insisting())
        case plans.Administer():
            holds = vf_config.pin(net, step.target, step.mac, node.unsupported, node.insisting(), asked=step.asked)
            return frozenset() if holds else frozenset({settings.Setting.MAC})
        case _:
            node.insist(functools.partial(_apply, step, node, net, inner, pod))
            return frozenset()


def _apply(
    step: plans.Move | plans.MoveRdma | plans.Configure | plans.Rebind,
    node: Node,
    net: kernel.Kernel,
    inner: kernel.Kernel,
    pod: netns.Netns,
) -> None:
    match step:
        case plans.Move():
            _move(step, node, net, inner, pod)
        case plans.MoveRdma():
            rdma.move(node, net, step.device, pod)
            rdma.refuse_lost(node, step.pci, step.nodes)
        case plans.Configure():
            netdevs.configure(inner, step.name, step.change, trial=step.trial)
        case plans.Rebind():
            _rebind(step, node)


def _move(step: plans.Move, node: Node, net: kernel.Kernel, inner: kernel.Kernel, pod: netns.Netns) -> None:
    """Move the netdev. If the kernel refuses with the VF already in the pod (do_setlink()), finish the change there."""
    index = step.index or node.tree.ifindex(step.pci) or 0
    try:
        net.move(index, pod, step.name, step.change)
    except errors.KernelError:
        if node.tree.netdev(step.pci) is not None:
            raise
        names = () if netdevs.has_parents(net, None) else (step.was, step.name)
        link = netdevs.find(inner, step.pci, names)
        if link is None:
            raise
        _finish_move(step, inner, link)


def _rebind(step: plans.Rebind, node: Node) -> None:
    node.rebind(step.pci)
    polling.until(lambda: node.tree.netdev(step.pci), bool, node.patience)
    rdma.refuse_lost(node, step.pci, step.rdma_nodes)


def _finish_move(step: plans.Move, inner: kernel.Kernel, link: kernel.Link) -> None:
    """Rename and configure the VF in the pod; the kernel also refuses a name that udev gave the VF as an altname."""
    if step.name in link.altnames:
        inner.drop_altname(link.index, step.name)
    if link.name != step.name:
        inner.rename(link.index, step.name)
    netdevs.configure(inner, step.name, step.change, trial=step.trial)


def _numbered(inner: kernel.Kernel, hold: ledger.PolicyHold) -> ledger.PolicyHold:
    """Leave the VF's index out if another netdev in the pod has it: the VF gets another one then."""
    taken = hold.index and netdevs.if_there(inner, hold.index) is not None
    return msgspec.structs.replace(hold, index=0) if taken else hold


def _refuse_taken_name(inner: kernel.Kernel, name: str) -> None:
    """Raise NameTakenError if a link has this name or altname: the kernel refuses both for a rename."""
    if (taken := netdevs.if_there(inner, name)) is not None:
        raise errors.NameTakenError(
            f"interface {name} exists in the pod already (link {taken.index}, {taken.address})",
            "give this network another interface name",
        )


def _with_its_mac(node: Node, inner: kernel.Kernel, request: plans.Request) -> kernel.Link:
    """Return the link as the kernel shows it, once it has the MAC that the request names.

    Some drivers (igbvf) take an administered MAC over only when the link goes down. A bounce costs time, so it is done
    only if the address is not there yet. Other drivers accept the MAC before they have applied it: a VF that is being
    reset (ice, i40e) has its address when the reset is over.
    """
    name, mac = request.owner.ifname, request.wanted.mac
    link = inner.link(name)
    if request.vf.infiniband:
        return _with_its_guid(link, request)
    if mac in (settings.NO_MAC, link.address):
        return link
    netdevs.bounce(inner, name)
    link = polling.until(lambda: inner.link(name), lambda link: link.address == mac, node.patience)
    if link.address != mac:
        raise errors.UnsupportedError(
            f"the driver of VF {request.vf.pci} keeps MAC {link.address}, mac {mac} did not take effect",
            "leave `mac` out, or use another NIC",
        )
    return link


def _with_its_guid(link: kernel.Link, request: plans.Request) -> kernel.Link:
    wanted = request.wanted.guid
    if wanted not in ("", settings.guid_of(link.address)):
        raise errors.UnsupportedError(
            f"VF {request.vf.pci} has GUID {settings.guid_of(link.address)}, guid {wanted} did not take effect",
            "leave `guid` out, or look at what the subnet manager allows",
        )
    return link


def undo(node: Node, book: ledger.Ledger, record: ledger.Record, pod: netns.Netns) -> None:
    """Take back an attachment that failed.

    The caller reports the first error. If the undo fails too, that is logged and the record stays for the next call.
    """
    try:
        detach.detach(node, book, record, pod)
    except errors.SriovError as error:
        _log.error("VF %s of %s could not be taken back yet: %s", record.pci, record.owner.container_id, error)
