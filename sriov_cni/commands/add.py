"""ADD: validate, lock, attach while the IPAM plugin runs, set addresses, answer; on failure everything is undone."""

import asyncio
import contextlib
import functools
from collections.abc import Callable

import msgspec

from sriov import devices, errors, settings, timing
from sriov.attachment import announcing, plans, rebound
from sriov.attachment import attach as attaching
from sriov.linux import kernel, netns
from sriov.state import ledger
from sriov_cni.commands import device, leases, link_layers, rdma_isolation, readiness
from sriov_cni.commands.membership import joining, node_defaults, service_requests
from sriov_cni.context import announcements, claims, ipam, locks, steps
from sriov_cni.context.calls import Call, Daemon, log
from sriov_cni.spec import cni_errors, netconf, result, typos, vf_request
from sriov_cni.spec.cni_errors import Code


class CheckedAdd(msgspec.Struct, frozen=True):
    """An ADD that nothing speaks against: what is to be attached, and where."""

    call: Call
    network: netconf.Network
    before: result.Previous
    pod: netns.Netns
    wanted: vf_request.VfRequest
    request: plans.Request
    granted: claims.GrantedVf | None = None


class AddedVf(msgspec.Struct, frozen=True):
    """What an ADD has made: the pod's interfaces, and what the IPAM plugin gave the first of them."""

    interfaces: tuple[result.Interface, ...]
    leased: result.Result


async def add(daemon: Daemon, call: Call) -> bytes:
    """Run the CNI command ADD. Everything that can be refused is refused before anything is changed."""
    with timing.timed(steps.CallStep.VALIDATE):
        checked = await check(daemon, call)
    attached = await attach(daemon, checked)
    warn(call, checked.network)
    merged = result.merge(checked.before.result, attached.interfaces, attached.leased, checked.wanted.dns)
    return result.encode(merged, checked.network.version, checked.before.document)


async def check(daemon: Daemon, call: Call) -> CheckedAdd:
    """Check all that can be checked; nothing is changed. Raises CniError, SriovError."""
    network = netconf.network(call.document)
    wanted = vf_request.read(call.document, call.invocation.args)
    before = result.previous(network.prev_result, netconf.VERSIONS)
    _needs_cni_path(call, network)
    pod = call.needs_pod(daemon.node.home)
    pci = await device.choose(daemon, call, wanted)
    granted = None if daemon.claims is None else daemon.claims.of(pci, call.invocation)
    if granted is not None and granted.device.network:
        wanted = vf_request.read(claims.merged(call.document, granted), call.invocation.args)
    vf = _looked_up(daemon, pci)
    wanted = node_defaults.applied(daemon, call, network, vf, wanted)
    return CheckedAdd(call, network, before, pod, wanted, _request(daemon, call, network, vf, wanted), granted)


async def attach(daemon: Daemon, checked: CheckedAdd) -> AddedVf:
    """Attach the VF; after a failure all is as before."""
    async with daemon.vf_locks.of(checked.request.vf.pci) as held:
        interfaces, leased = await _attach(
            daemon, held, checked.call, checked.network, checked.request, pod=checked.pod, wanted=checked.wanted
        )
        daemon.fresh.add(checked.call.key, checked.call)
        if checked.granted is not None and daemon.claims is not None:
            daemon.claims.note(checked.granted, checked.call.invocation, interfaces[0], leased)
    return AddedVf(interfaces, leased)


def warn(call: Call, network: netconf.Network) -> None:
    """Log what is ignored and may be a mistake; no other call waits for the VF meanwhile."""
    for warning in typos.warnings(call.document.values, vf_request.KEYS | typos.LOGGING):
        log.warning("network %s: %s", network.name, warning)


async def _attach(
    daemon: Daemon,
    held: locks.Held,
    call: Call,
    network: netconf.Network,
    request: plans.Request,
    *,
    pod: netns.Netns,
    wanted: vf_request.VfRequest,
) -> tuple[tuple[result.Interface, ...], result.Result]:
    await _end_former_owner(daemon, held, call, request, pod)
    request = await joining.planned(daemon, held, call, request, pod=pod, wanted=wanted)
    moving, nodes = await rdma_isolation.moving(daemon, held, call, request.vf, wanted.rdma)
    request = msgspec.structs.replace(request, rdma=moving, rdma_nodes=nodes)
    async with contextlib.AsyncExitStack() as undo:
        order = _on_the_link if ipam.needs_link(network.ipam) else _beside
        lease = leases.Leasing(daemon, held, call, network, request.vf.pci)
        given, leased = await order(lease, request, pod, undo)
        if not given.addressed:
            given = await held.run(_address, daemon, pod, given.link, leased)
        if given.announcer is not None:
            undo.callback(given.announcer.close)
        await readiness.addresses(daemon, pod, given.link, given.addresses)
        if not given.joined:
            given = await held.run(_joined, daemon, request, pod, given)
        undo.pop_all()
    if given.announcer is not None:
        daemon.later(announcements.announce(given.announcer, joining.pass_mark(daemon, request, pod)))
    joining.joined(daemon, request, pod)
    return (_interface(call, request, given), *joining.interfaces(call, given.host_link)), leased


async def _beside(
    lease: leases.Leasing, request: plans.Request, pod: netns.Netns, undo: contextlib.AsyncExitStack
) -> "tuple[_Given, result.Result]":
    """Run the IPAM plugin while the VF moves."""
    task = lease.begin()
    undo.push_async_callback(lease.undo, task)
    undo.push_async_callback(_take_back, lease.daemon, lease.held, request, pod)
    given = await lease.held.run(_give, lease.daemon, request, pod, task)
    return given, await asyncio.shield(task)  # the undo waits for it


async def _on_the_link(
    lease: leases.Leasing, request: plans.Request, pod: netns.Netns, undo: contextlib.AsyncExitStack
) -> "tuple[_Given, result.Result]":
    """Run the IPAM plugin when the VF is in the pod and up; its undo runs before the VF leaves."""
    undo.push_async_callback(_take_back, lease.daemon, lease.held, request, pod)
    given = await lease.held.run(_give, lease.daemon, request, pod, None)
    await readiness.carrier(lease.daemon, pod, given.link)
    task = lease.begin()
    undo.push_async_callback(lambda: lease.undo_with(task, _take_back(lease.daemon, lease.held, request, pod)))
    return given, await asyncio.shield(task)  # the undo waits for it


class _Given(msgspec.Struct, frozen=True):
    """A VF in the pod, and the announcer of its addresses.

    `link` is None if the VF has no netdev; then `mac` is the MAC that its PF has for it. `joined`: what comes when the
    pod has its addresses is done, and `host_link` is there.
    """

    link: kernel.Link | None
    addressed: bool = False
    announcer: announcing.Announcer | None = None
    addresses: tuple[kernel.IpInterface, ...] = ()
    mac: str = settings.NO_MAC
    joined: bool = False
    host_link: ledger.HostLink | None = None


def _give(
    daemon: Daemon, request: plans.Request, pod: netns.Netns, lease: asyncio.Task[result.Result] | None
) -> _Given:
    """Attach; set the addresses at once if the IPAM plugin has already answered: it mostly is quicker than the move."""
    with joining.joining(daemon, request, pod) as joined:
        given = _attached(daemon, joined, pod, lease)
    if not given.addressed or any(each.version == 6 for each in given.addresses):
        return given  # its addresses are not there yet, or not usable
    with contextlib.ExitStack() as undo:
        if given.announcer is not None:
            undo.callback(given.announcer.close)
        given = _joined(daemon, request, pod, given)
        undo.pop_all()
    return given


def _joined(daemon: Daemon, request: plans.Request, pod: netns.Netns, given: _Given) -> _Given:
    """Finish when the pod's addresses can be used."""
    link = joining.addressed(daemon, request, pod, given.link, given.addresses)
    return msgspec.structs.replace(given, joined=True, host_link=link)


def _attached(
    daemon: Daemon, request: plans.Request, pod: netns.Netns, lease: asyncio.Task[result.Result] | None
) -> _Given:
    if request.vf.userspace:
        mac = attaching.attach_userspace(daemon.node, daemon.book, request, pod)
        joining.unseen(daemon, request, pod)
        return _Given(None, addressed=True, mac=mac)
    guard = joining.guard(daemon, request, pod)
    with attaching.attached(daemon.node, daemon.book, request, pod, guard) as (inner, link):
        # The task is the event loop's, but any thread may read whether it is done, and its result.
        if lease is not None and lease.done() and not lease.cancelled() and lease.exception() is None:
            return _configure(daemon, pod, inner, link, lease.result())
    return _Given(link)


def _address(daemon: Daemon, pod: netns.Netns, link: kernel.Link | None, leased: result.Result) -> _Given:
    if link is None:
        return _Given(link, addressed=True)
    with daemon.node.kernel() as net, net.inside(pod) as inner:
        return _configure(daemon, pod, inner, link, leased)


def _interface(call: Call, request: plans.Request, given: _Given) -> result.Interface:
    """Return name, MAC and MTU as the kernel shows them; a VF without a netdev has the name that the pod asked for."""
    sandbox, pci, link = call.invocation.netns, request.vf.pci, given.link
    if link is not None:
        return result.Interface(link.name, link.address, link.mtu, sandbox, pci)
    mac = "" if given.mac == settings.NO_MAC else given.mac
    return result.Interface(request.owner.ifname, mac, 0, sandbox, pci)


def _needs_cni_path(call: Call, network: netconf.Network) -> None:
    if network.ipam and not call.invocation.path:
        raise cni_errors.CniError(
            Code.INVALID_ENVIRONMENT, "required variables are missing: CNI_PATH", f"{network.ipam} is looked for there"
        )


def _looked_up(daemon: Daemon, pci: devices.PciAddress) -> devices.VF:
    vf = daemon.node.lookup(pci)
    if vf.driver is None:
        raise errors.DeviceError(f"VF {vf.pci} has no driver", "bind it to its kernel driver, such as igbvf or iavf")
    return vf


def _request(
    daemon: Daemon, call: Call, network: netconf.Network, vf: devices.VF, wanted: vf_request.VfRequest
) -> plans.Request:
    """Check that the VF can have what is wanted. Raises DeviceError, SettingError.

    Of the VF's settings the policy judges only what the network asks for; the others are as the operator declared.
    """
    link_layers.check(daemon.node, vf, wanted)
    way = joining.check(daemon, call, network, vf, wanted)
    if daemon.guard is not None:
        daemon.guard.check(vf, wanted.wanted, joining.membership(way.mode, wanted, further=call.invocation.further))
    pf = daemon.node.uplink(vf)
    if wanted.mtu and pf and wanted.mtu > pf.mtu:
        raise errors.SettingError(
            f"mtu {wanted.mtu} exceeds the {pf.mtu} of PF {pf.name}", f"raise the PF's, or use at most {pf.mtu}"
        )
    owner = ledger.Owner(
        container_id=call.invocation.container_id,
        ifname=call.invocation.ifname,
        network=network.name,
        netns=call.invocation.netns,
        namespace=call.invocation.args.namespace,
        pod=call.invocation.args.pod,
        within=call.invocation.within,
        uid=call.invocation.args.uid,
    )
    declared = daemon.book.defaults.of(daemon.node.tree, vf.pci).over(wanted.wanted)
    stated = wanted.named.over(declared)
    named = (settings.asked(wanted.wanted) | wanted.named.settings()) & link_layers.known(vf)
    return plans.Request(
        vf,
        owner,
        stated,
        wanted.mtu,
        wanted.allmulti,
        ipam=network.ipam or "",
        named=named,
        services_mode="" if way == service_requests.NONE else way.mode,
        services_reason=way.reason,
    )


async def _end_former_owner(
    daemon: Daemon, held: locks.Held, call: Call, request: plans.Request, pod: netns.Netns
) -> None:
    record = await daemon.holder_of(request.vf.pci)
    if record is not None:
        rdma_isolation.note(daemon, call, request.vf.pci)
        await held.run(_end, daemon, request, pod, record)


def _end(daemon: Daemon, request: plans.Request, pod: netns.Netns, record: ledger.Record) -> None:
    """Finish a detach that never came: the VF is in the host, its owner's namespace is gone, or its owner restarted."""
    if (lost := rebound.problem(daemon.node.tree, record)) is not None:
        raise lost
    owner = request.owner
    is_own = record.belongs_to(owner.container_id, owner.ifname, owner.within)
    restarted = is_own and record.netns != pod.identity
    if daemon.node.tree.netdev(request.vf.pci) is None and not restarted and not daemon.has_ended(record):
        raise errors.BusyError(
            f"VF {record.pci} is held by {record.owner}",
            "its DEL has not come yet; try again later"
            if record.owner != ledger.UNKNOWN
            else "its ledger record is damaged: remove that file once no pod uses the VF",
        )
    daemon.detach(record, None)


def _configure(
    daemon: Daemon, pod: netns.Netns, inner: kernel.Kernel, link: kernel.Link, leased: result.Result
) -> _Given:
    """Set addresses and routes; the caller announces them."""
    addressing = result.addressing(leased, "the IPAM plugin's answer")
    if not addressing.addresses:
        return _Given(link, addressed=True)
    announcer = daemon.announce(pod, link, addressing.addresses) if daemon.announce else None
    with contextlib.ExitStack() as undo:
        if announcer is not None:
            undo.callback(announcer.close)
        with timing.timed(steps.CallStep.ADDRESSES):
            ipam.configure(inner, link.index, addressing, _ipv6_switch(daemon, pod, link))
        undo.pop_all()
    return _Given(link, True, announcer, addressing.addresses)


def _ipv6_switch(daemon: Daemon, pod: netns.Netns, link: kernel.Link) -> Callable[[], None] | None:
    return functools.partial(daemon.enable_ipv6, pod, link.name) if daemon.enable_ipv6 else None


async def _take_back(daemon: Daemon, held: locks.Held, request: plans.Request, pod: netns.Netns) -> None:
    """Undo the attachment. If attaching failed, it has undone itself already, and there is no record."""
    record = daemon.book.read(request.vf.pci)
    if record is not None and record.owner == request.owner:
        await held.run(attaching.undo, daemon.node, daemon.book, record, pod)
    if request.policy is not None:
        await held.run(joining.left, daemon, request, pod)
