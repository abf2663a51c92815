"""Giving a VF to a pod: a plan carried out, with its record written before and its undo ready."""

import contextlib
import dataclasses
import errno
import functools
import logging
import time
from collections.abc import Iterator

from sriov import (
    detachment,
    errors,
    homes,
    kernel,
    ledger,
    netdevs,
    netns,
    nsids,
    plans,
    rdma,
    settings,
    steps,
    vfconfig,
)
from sriov.node import Node

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.02

_KINDS = {
    plans.StateVf: steps.Step.PF,
    plans.Move: steps.Step.MOVE,
    plans.MoveRdma: steps.Step.MOVE,
    plans.Configure: steps.Step.POD,
    plans.Administer: steps.Step.PF,
}


def attach(node: Node, book: ledger.Ledger, request: plans.Request, pod: netns.Netns) -> kernel.Link:
    """The same with nothing left to do: returns the netdev as it is in the pod."""
    with attached(node, book, request, pod) as (_, link):
        return link


@contextlib.contextmanager
def attached(
    node: Node, book: ledger.Ledger, request: plans.Request, pod: netns.Netns
) -> Iterator[tuple[kernel.Kernel, kernel.Link]]:
    """Write the record, then carry the plan out; gives the pod's kernel, while it is open, and the netdev there.

    On a failure, of the body too, the VF is at home and at the baseline again and the record is gone; where even that
    fails, the record stays for whoever comes next. Raises what the failing step raised.
    """
    netdev = node.tree.netdev(request.vf.pci)
    if netdev is None:
        raise node.undecided(request.vf.pci) or errors.BusyError(
            f"VF {request.vf.pci} has no netdev in the host's namespace",
            "another container may hold it; try again later",
        )
    with node.kernel() as net, net.inside(pod) as inner, contextlib.ExitStack() as stack:
        home = book.homes.settle(node.tree, request.vf.pci, netdev, functools.partial(net.state, netdev.index))
        planned = plans.plan(
            node.target(request.vf, home.address), dataclasses.replace(netdev, address=home.address), request
        )
        record = _record(node, request, pod, home=home)
        _refuse_taken_name(inner, request.owner.ifname)
        book.write(record)
        stack.callback(undo, node, book, record, pod)
        for step in planned:
            with steps.timed(_KINDS[type(step)]):
                node.insist(functools.partial(_apply, step, node, net, inner, pod))
        yield inner, _with_its_mac(node, inner, request)
        stack.pop_all()


def attach_userspace(node: Node, book: ledger.Ledger, request: plans.Request, pod: netns.Netns) -> None:
    """The same for a VF with a userspace driver: it has no netdev and does not move, its PF is told all there is."""
    with node.kernel() as net:
        record = _record(node, request, pod, mark=net.mark(pod))
    target = node.target(request.vf, settings.NO_MAC)
    if target is None:
        vfconfig.refuse_without_pf(request.wanted, has_netdev=False)
        book.write(record)
        return
    with node.kernel() as net, contextlib.ExitStack() as stack:
        book.write(record)
        stack.callback(undo, node, book, record, pod)
        node.insist(functools.partial(vfconfig.state, net, target, request.wanted, node.unsupported))
        stack.pop_all()


def _record(
    node: Node, request: plans.Request, pod: netns.Netns, home: homes.Home | None = None, mark: nsids.Mark | None = None
) -> ledger.Record:
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
    )


def _apply(step: plans.Step, node: Node, net: kernel.Kernel, inner: kernel.Kernel, pod: netns.Netns) -> None:
    match step:
        case plans.StateVf():
            vfconfig.state(net, step.target, step.wanted, node.unsupported)
        case plans.Move():
            _move(step, node, net, inner, pod)
        case plans.MoveRdma():
            rdma.move(node, net, step.device, pod)
            rdma.refuse_lost(node, step.pci, step.nodes)
        case plans.Configure():
            netdevs.configure(inner, step.name, step.change)
        case plans.Administer():
            net.set_vf(step.target.pf, step.target.vf, step.wanted, {settings.Setting.MAC})


def _move(step: plans.Move, node: Node, net: kernel.Kernel, inner: kernel.Kernel, pod: netns.Netns) -> None:
    """A refusal may come when the VF is in the pod already (do_setlink()): then the rest is asked for again."""
    try:
        net.move(step.index, pod, step.name, step.change)
    except errors.KernelError:
        if node.tree.netdev(step.pci) is not None:
            raise
        names = () if netdevs.has_parents(net, None) else (step.was, step.name)
        link = netdevs.find(inner, step.pci, names)
        if link is None:
            raise
        _finish_move(step, inner, link)


def _finish_move(step: plans.Move, inner: kernel.Kernel, link: kernel.Link) -> None:
    """A name that is free in the pod may be an altname that udev gave to the VF: the kernel refuses that too."""
    if step.name in link.altnames:
        inner.drop_altname(link.index, step.name)
    if link.name != step.name:
        inner.rename(link.index, step.name)
    netdevs.configure(inner, step.name, step.change)


def _refuse_taken_name(inner: kernel.Kernel, name: str) -> None:
    """Also an altname counts: the kernel finds a link by either, and refuses both for a rename."""
    try:
        taken = inner.link(name)
    except errors.KernelError as error:
        if error.errno == errno.ENODEV:
            return
        raise
    raise errors.NameTakenError(
        f"interface {name} exists in the pod already (link {taken.index}, {taken.address})",
        "give this network another interface name",
    )


def _with_its_mac(node: Node, inner: kernel.Kernel, request: plans.Request) -> kernel.Link:
    """The link as the kernel shows it, once it has the MAC asked for.

    Some drivers take an administered MAC over only when the link goes down (igbvf); that costs a bounce, so it is what
    is tried when the address is not there yet, and not before. Others have said yes and are still at it: a VF that is
    being reset (ice, i40e) has its address when that is over.
    """
    name, mac = request.owner.ifname, request.wanted.mac
    link = inner.link(name)
    if mac in (settings.NO_MAC, link.address):
        return link
    netdevs.bounce(inner, name)
    deadline = time.monotonic() + node.patience
    while (link := inner.link(name)).address != mac and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    if link.address != mac:
        raise errors.UnsupportedError(
            f"the driver of VF {request.vf.pci} keeps MAC {link.address}, mac {mac} did not take effect",
            "leave `mac` out, or use another NIC",
        )
    return link


def undo(node: Node, book: ledger.Ledger, record: ledger.Record, pod: netns.Netns) -> None:
    """Take back an attachment that failed.

    The first error is what the user hears: a failing undo is logged, and the record stays for whoever comes next.
    """
    try:
        detachment.detach(node, book, record, pod)
    except errors.SriovError as error:
        _log.error("VF %s of %s is left to be restored: %s", record.pci, record.owner.container_id, error)
