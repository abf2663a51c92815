"""The host link of an ADD: looked into before anything is changed, and made when the pod has its addresses.

It is undone with the VF: detach deletes the pair that the ledger's record names.
"""

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from sriov import devices, errors, polling
from sriov.attachment import netdevs, plans
from sriov.linux import kernel, netns
from sriov.state import ledger
from sriov_cni.commands.membership import service_requests
from sriov_cni.context.calls import Call, Daemon, log
from sriov_cni.dataplane import host_link, node_rules
from sriov_cni.spec import cni_errors, host_links, netconf
from sriov_cni.spec.service_modes import ServicesMode

_CARRIER_PATIENCE = 1.0  # seconds
_ADDRESS_PATIENCE = 3.0  # seconds
_COMING_UP = (kernel.Change(link_local=False), kernel.Change(up=True))


def check(daemon: Daemon, call: Call, vf: devices.VF, wish: host_links.HostLinkWish) -> None:
    """Raise CniError or UnsupportedError if this VF or node cannot have such a host link."""
    host_links.refuse_name_of_vf(wish, call.invocation.ifname)
    if vf.userspace or vf.infiniband:
        kind = "an InfiniBand VF" if vf.infiniband else "a VF with a userspace driver"
        raise errors.UnsupportedError(
            f"hostLink {wish.name!r}: not for {kind}, which {vf.pci} is", "leave hostLink out, or use another VF"
        )
    if wish.services and not wish.via and not _ranges(daemon):
        raise _unknown_ranges(daemon)


def _ranges(daemon: Daemon) -> tuple[str, ...]:
    return () if daemon.service_ranges is None else daemon.service_ranges()


def _unknown_ranges(daemon: Daemon) -> cni_errors.CniError:
    problem = 'services "host": this node does not know the networks that the cluster takes ClusterIPs from'
    by_hand = 'or name them by hand, as in "viaHost": ["10.96.0.0/12"]'
    if daemon.service_ranges is None:
        return netconf.invalid(problem, f"start the daemon with --cluster-socket, and sriov-agent, {by_hand}")
    return cni_errors.CniError(
        cni_errors.Code.TRY_AGAIN, problem, f"sriov-agent has not sent them: see its log, {by_hand}"
    )


def planned(daemon: Daemon, call: Call, pod: netns.Netns, wish: host_links.HostLinkWish) -> ledger.HostLink:
    """Return the link, which is to be made. Raises SettingError if one of its names is taken. Blocks.

    Raises UnsupportedError if the machine has no libnftables.
    """
    with daemon.node.kernel() as net, net.inside(pod) as inner:
        net.needs_nft("hostLink")
        here = net.links()
        nodes = [address.ip for _, address in net.global_addresses(host_link.not_the_nodes(here))]
        own = call.invocation
        link = host_link.link(own.container_id, own.ifname, wish, nodes, _ranges(daemon))
        host_link.refuse_taken(link, here, inner.links())
        if link.addresses:
            host_link.refuse_held(link, daemon.book.records())
    return link


def if_possible(daemon: Daemon, call: Call, pod: netns.Netns, wish: host_links.HostLinkWish) -> ledger.HostLink | None:
    """Return the same of a default of the node; None, which is logged, if this pod cannot have it."""
    try:
        return planned(daemon, call, pod, wish)
    except errors.SriovError as error:
        log.warning("the node's default host link is left out for %s: %s", call.invocation.container_id, error)
        return None


def make(
    daemon: Daemon,
    pod: netns.Netns,
    request: plans.Request,
    vf: int,
    addresses: Sequence[kernel.IpInterface],
    *,
    arrived: Callable[[kernel.Kernel], None] | None = None,
) -> ledger.HostLink | None:
    """Make the pair, with all that hangs on it; returns it. The VF's netdev in the pod has index `vf` and `addresses`.

    Of a default of the node, what these addresses do not allow is left out. Blocks.
    """
    link = request.host_link
    if link is not None and (link.by_default or link.ranges_by_default):
        link = _fitted(daemon, request, link, addresses)
    if link is None:
        return None
    try:
        _make(daemon, pod, link, vf, addresses, arrived=arrived)
    except errors.SriovError as error:
        if not link.by_default:
            raise
        _give_up(daemon, request, link, error)
        return None
    return link


def _give_up(daemon: Daemon, request: plans.Request, link: ledger.HostLink, error: errors.SriovError) -> None:
    """Leave out a default of the node that cannot be made. Raises CniError if what goes by it is demanded."""
    with daemon.node.kernel() as net:
        netdevs.delete_pair(net, link.name, link.address)
    log.warning("the node's default host link is left out for %s: %s", request.owner, error)
    if (record := daemon.book.read(request.vf.pci)) is not None:
        _record(daemon, request, record, None)


def _record(daemon: Daemon, request: plans.Request, record: ledger.Record, link: ledger.HostLink | None) -> None:
    """Write down that there is less of the link. Raises CniError if the Services that went by it are demanded."""
    if request.services_mode == ServicesMode.HOST and not (link and link.beyond):
        service_requests.refuse_if_demanded(daemon, request.vf)
        record = msgspec.structs.replace(
            record, services_mode=ServicesMode.OFF, services_reason=service_requests.NO_LINK
        )
    daemon.book.write(msgspec.structs.replace(record, host_link=link))


def _fitted(
    daemon: Daemon, request: plans.Request, link: ledger.HostLink, addresses: Sequence[kernel.IpInterface]
) -> ledger.HostLink | None:
    fitting = host_link.fitting(link, addresses)
    record = daemon.book.read(request.vf.pci)
    if fitting != link and record is not None:
        left = sorted({*link.beyond} - {*fitting.beyond}) if fitting else ["nothing of it"]
        log.warning("%s does not have all of the node's default host link: %s", record.owner, ", ".join(left))
        _record(daemon, request, record, fitting)
    return fitting


def _make(
    daemon: Daemon,
    pod: netns.Netns,
    link: ledger.HostLink,
    vf: int,
    addresses: Sequence[kernel.IpInterface],
    *,
    arrived: Callable[[kernel.Kernel], None] | None,
) -> None:
    with daemon.node.kernel() as net, net.inside(pod) as inner:
        sources = {each.ip: net.source_to(each.ip) for each in (*addresses, *host_link.own_addresses(link))}
        pending = inner.pending(vf) if any(each.version == 6 for each in addresses) else ()
        plan = host_link.plan(link, addresses, sources, pending)
        node_rules.ensure(net, daemon.via_host, link.beyond, lambda: _recorded(daemon))
        net.add_pair(kernel.End(link.name, link.address), kernel.End(link.inside, link.inside_address), pod)
        if arrived is not None:
            arrived(inner)
        if inner.nft_comment(host_link.TABLE_NAME):  # of a former link of this pod, which had DEL
            inner.run_nft(f"delete table {host_link.TABLE}")
        inner.run_nft(plan.marking)
        _set_sysctls(daemon, pod, plan)
        _set_up(net, link.name, plan.host)
        # The end that comes up last sends at once; the other one first drops what it is given, for a moment
        # (noop_qdisc, until net/core/link_watch.c has seen the carrier).
        _set_up(inner, link.inside, plan.pod)
        polling.until(lambda: net.link(link.name), lambda seen: seen.running, _CARRIER_PATIENCE)
        _await_usable(inner, link.inside, plan.pod.addresses)


def _await_usable(inner: kernel.Kernel, name: str, addresses: Sequence[kernel.IpInterface]) -> None:
    """Wait for the link's own addresses: a connection that begins before them has the VF's."""
    new = {each for each in addresses if each.version == 6}
    if new:
        index = inner.link(name).index
        polling.until(lambda: new.intersection(inner.pending(index)), lambda left: not left, _ADDRESS_PATIENCE)


def _recorded(daemon: Daemon) -> Iterator[str]:
    """Yield the networks that the pods of the ledger reach by the host."""
    return (each for record in daemon.book.records() if record.host_link for each in record.host_link.beyond)


def _set_sysctls(daemon: Daemon, pod: netns.Netns, plan: host_link.LinkPlan) -> None:
    if daemon.enable_ipv6 and any(route.dst.version == 6 for route in plan.pod.routes):
        daemon.enable_ipv6(pod, plan.link.inside)
    if daemon.set_sysctls:
        daemon.set_sysctls(pod, plan.pod.sysctls)
        daemon.set_sysctls(daemon.node.home, plan.host.sysctls)


def _set_up(net: kernel.Kernel, name: str, side: host_link.Side) -> None:
    index = net.link(name).index
    for change in _COMING_UP:
        net.set_link(index, change)
    for address in side.addresses:
        net.add_address(index, address)
    for neighbour in side.neighbours:
        net.add_neighbour(index, neighbour)
    for route in side.routes:
        with _told(route):
            net.add_route(index, route)
    for rule in side.rules:
        with _unless_there():
            net.add_rule(rule)


@contextlib.contextmanager
def _told(route: kernel.Route) -> Iterator[None]:
    try:
        yield
    except errors.KernelError as error:
        if not route.exclusive or error.errno != errno.EEXIST:
            raise
        raise errors.BusyError(
            f"hostLink: the node has a route to {route.dst} already, so that another of its pods may have this address",
            "give pods with a host link addresses that are theirs alone on the node",
        ) from error


def keep_rules(daemon: Daemon, records: Iterable[ledger.Record]) -> None:
    """Bring the node's rules back if somebody has removed them while there are pods with a host link. Blocks."""
    via = [each for record in records if record.host_link for each in record.host_link.beyond]
    with daemon.node.kernel() as net:
        node_rules.ensure(net, daemon.via_host, via, lambda: via)


@contextlib.contextmanager
def _unless_there() -> Iterator[None]:
    try:
        yield
    except errors.KernelError as error:
        if error.errno != errno.EEXIST:
            raise
