"""The host link of an ADD: looked into before anything is changed, and made when the pod has its addresses.

It is undone with the VF: detach deletes the pair that the ledger's record names.
"""

import contextlib
import errno
from collections.abc import Iterator, Sequence

from sriov import devices, errors
from sriov.linux import kernel, netns, nftables
from sriov.state import ledger
from sriov_cni.context.calls import Call, Daemon
from sriov_cni.dataplane import host_link, node_rules
from sriov_cni.spec import host_links

_COMING_UP = (kernel.Change(link_local=False), kernel.Change(up=True))


def check(call: Call, vf: devices.VF, wish: host_links.HostLinkWish) -> None:
    """Raise CniError or UnsupportedError if this VF or node cannot have a host link."""
    host_links.refuse_name_of_vf(wish, call.invocation.ifname)
    if vf.userspace or vf.infiniband:
        kind = "an InfiniBand VF" if vf.infiniband else "a VF with a userspace driver"
        raise errors.UnsupportedError(
            f"hostLink {wish.name!r}: not for {kind}, which {vf.pci} is", "leave hostLink out, or use another VF"
        )
    nftables.needed("hostLink")


def planned(daemon: Daemon, call: Call, pod: netns.Netns, wish: host_links.HostLinkWish) -> ledger.HostLink:
    """Return the link, which is to be made. Raises SettingError if one of its names is taken. Blocks."""
    with daemon.node.kernel() as net, net.inside(pod) as inner:
        here = net.links()
        nodes = [address.ip for _, address in net.global_addresses(host_link.not_the_nodes(here))]
        link = host_link.link(call.invocation.container_id, call.invocation.ifname, wish, nodes)
        host_link.refuse_taken(link, here, inner.links())
    return link


def make(
    daemon: Daemon, pod: netns.Netns, link: ledger.HostLink, vf: int, addresses: Sequence[kernel.IpInterface]
) -> None:
    """Make the pair, with all that hangs on it. The VF's netdev in the pod has index `vf` and `addresses`. Blocks."""
    with daemon.node.kernel() as net, net.inside(pod) as inner:
        sources = {each.ip: net.source_to(each.ip) for each in addresses}
        pending = inner.pending(vf) if any(each.version == 6 for each in addresses) else ()
        plan = host_link.plan(link, addresses, sources, pending)
        node_rules.ensure(net, daemon.via_host, link.via, lambda: _recorded(daemon))
        net.add_pair(kernel.End(link.name, link.address), kernel.End(link.inside, link.inside_address), pod)
        inner.run_nft(plan.marking)
        _set_sysctls(daemon, pod, plan)
        _set_up(inner, link.inside, plan.pod)
        _set_up(net, link.name, plan.host)


def _recorded(daemon: Daemon) -> Iterator[str]:
    """Yield the networks that the pods of the ledger reach by the host."""
    return (each for record in daemon.book.records() if record.host_link for each in record.host_link.via)


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
    for neighbour in side.neighbours:
        net.add_neighbour(index, neighbour)
    for route in side.routes:
        net.add_route(index, route)
    for rule in side.rules:
        with _unless_there():
            net.add_rule(rule)


@contextlib.contextmanager
def _unless_there() -> Iterator[None]:
    try:
        yield
    except errors.KernelError as error:
        if error.errno != errno.EEXIST:
            raise
