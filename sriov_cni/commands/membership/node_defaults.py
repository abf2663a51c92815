"""Defaults of the node for what a network does not name: what this pod can have of them. They fail no pod."""

import msgspec

from sriov import devices
from sriov_cni.context.calls import Call, Daemon, log
from sriov_cni.context.policy_rules import NetworkDefaults
from sriov_cni.spec import host_links, netconf, vf_request
from sriov_cni.spec.service_modes import ServicesMode


def applied(
    daemon: Daemon, call: Call, network: netconf.Network, vf: devices.VF, wanted: vf_request.VfRequest
) -> vf_request.VfRequest:
    """Return the request with the node's defaults where the network names nothing."""
    defaults = NetworkDefaults() if daemon.guard is None else daemon.guard.defaults
    services = wanted.services if wanted.services is not None else defaults.services
    link = wanted.host_link
    if link is None and _can_have_link(wanted, vf, network):
        link = _link(daemon, call, vf, defaults, services)
    if wanted.services is None and (why_not := _why_not(daemon, services, link)):
        log.warning('network %s: the node\'s default, services "%s", is left out: %s', network.name, services, why_not)
        services = ServicesMode.OFF
    if link is not None:
        udp = defaults.host_link_udp if wanted.host_link_udp is None else wanted.host_link_udp
        by_host, by_default = services is ServicesMode.HOST, wanted.services is None
        link = msgspec.structs.replace(link, services=by_host, udp=udp, ranges_by_default=by_host and by_default)
    policy = wanted.policy.over(defaults.of_policy)
    if policy.holds:
        from sriov_cni.commands.membership import policy_defaults  # noqa: PLC0415  # other networks do not pay for it

        policy = policy_defaults.possible(daemon, call, network, vf, named=wanted.policy, wish=policy)
    return msgspec.structs.replace(wanted, services=services, host_link=link, policy=policy)


def _can_have_link(wanted: vf_request.VfRequest, vf: devices.VF, network: netconf.Network) -> bool:
    return not (wanted.no_host_link or vf.userspace or vf.infiniband or not network.ipam)


def _link(
    daemon: Daemon, call: Call, vf: devices.VF, defaults: NetworkDefaults, services: ServicesMode
) -> host_links.HostLinkWish | None:
    name = defaults.host_link or services is ServicesMode.HOST
    if not name:
        return None
    is_demanded = daemon.guard is not None and daemon.guard.demands_host_link(vf)
    made = host_links.wish(name, defaults.via_host, by_default=not is_demanded)
    return made if made.name != call.invocation.ifname or is_demanded else None


def _why_not(daemon: Daemon, services: ServicesMode, link: host_links.HostLinkWish | None) -> str:
    if services is ServicesMode.SOCKET and daemon.translation is None:
        return "the daemon has no --services"
    if services is ServicesMode.HOST and link is None:
        return "this pod can have no host link"
    knows_ranges = daemon.service_ranges is not None and daemon.service_ranges()
    if services is ServicesMode.HOST and link is not None and not (link.via or knows_ranges):
        return "the cluster's service ranges are not known"
    return ""
