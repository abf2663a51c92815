"""Joining of a pod to its cluster, in four moments of an ADD: the one door to it.

Each part is imported only for a network that asks for it: others pay for none of it.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator

import msgspec

from sriov import devices, timing
from sriov.attachment import attach, plans
from sriov.linux import kernel, netns
from sriov.state import ledger
from sriov_cni.commands.membership import service_requests
from sriov_cni.context import locks, policy_rules, steps
from sriov_cni.context.calls import Call, Daemon
from sriov_cni.spec import netconf, result, vf_request
from sriov_cni.spec.service_modes import ServicesMode


def check(
    daemon: Daemon, call: Call, network: netconf.Network, vf: devices.VF, wanted: vf_request.VfRequest
) -> service_requests.Way:
    """Refuse what this VF or node cannot have, or may not; returns the way to Services.

    Raises CniError, UnsupportedError.
    """
    way = service_requests.way(daemon, network, vf, wanted)
    if wanted.host_link is not None:
        from sriov_cni.commands.membership import host_link_requests  # noqa: PLC0415

        host_link_requests.check(daemon, call, vf, wanted.host_link)
    if wanted.policy.holds:
        from sriov_cni.commands.membership import policy_requests  # noqa: PLC0415

        policy_requests.check(daemon, call, vf, wanted.policy)
    return way


def membership(
    services: ServicesMode, wanted: vf_request.VfRequest, *, further: bool = False
) -> policy_rules.Membership:
    """Return what the node's policy judges. Of a `further` interface it is network policies alone."""
    link = wanted.host_link
    if link is None:
        return policy_rules.Membership(services, policy=wanted.policy, further=further)
    return policy_rules.Membership(services, True, link.via, link.addresses, wanted.policy)


async def planned(
    daemon: Daemon,
    held: locks.Held,
    call: Call,
    request: plans.Request,
    *,
    pod: netns.Netns,
    wanted: vf_request.VfRequest,
) -> plans.Request:
    """Return the request with what is looked up before anything is changed."""
    wish = wanted.host_link
    if wish is not None:
        from sriov_cni.commands.membership import host_link_requests  # noqa: PLC0415

        if request.services_mode == ServicesMode.HOST:  # auto may have chosen it
            wish = msgspec.structs.replace(
                wish, services=True, ranges_by_default=wish.ranges_by_default or not wish.services
            )
        plan = host_link_requests.if_possible if wish.by_default else host_link_requests.planned
        link = await held.run(plan, daemon, call, pod, wish)
        request = msgspec.structs.replace(request, host_link=link)
        if link is None and request.services_mode == ServicesMode.HOST:
            service_requests.refuse_if_demanded(daemon, request.vf)
            request = msgspec.structs.replace(
                request, services_mode=ServicesMode.OFF, services_reason=service_requests.NO_LINK
            )
    if wanted.policy.holds:
        from sriov_cni.commands.membership import policy_requests  # noqa: PLC0415

        hold = await policy_requests.planned(daemon, call, request.owner.network, request.vf, wanted.policy)
        request = msgspec.structs.replace(request, policy=hold)
    return request


@contextlib.contextmanager
def joining(daemon: Daemon, request: plans.Request, pod: netns.Netns) -> Iterator[plans.Request]:
    """Do what comes before the VF and, after the block, which attaches it, what comes when it is there. Blocks."""
    if request.services_mode != ServicesMode.SOCKET:
        yield request
        return
    translation = service_requests.translation(daemon)
    request = msgspec.structs.replace(request, cookie=netns.cookie(pod))
    yield request
    translation.admit(request.cookie)


def guard(daemon: Daemon, request: plans.Request, pod: netns.Netns) -> attach.Precautions | None:
    """Return what is to be done in the pod before the VF is there, and when it is and not up yet, or None."""
    if request.policy is None:
        return None
    from sriov_cni.commands.membership import policy_requests  # noqa: PLC0415

    return policy_requests.guard(daemon, request, pod.identity, request.policy)


def unseen(daemon: Daemon, request: plans.Request, pod: netns.Netns) -> None:
    """Watch that no policy comes to select a pod whose packets the kernel does not see."""
    if request.policy is None or daemon.enforcement is None:
        return
    from sriov_cni.dataplane.policies import policy_holdings  # noqa: PLC0415

    driver = request.vf.driver or ""
    daemon.enforcement.adopt(policy_holdings.of(request.owner, request.policy, None, pod.identity, driver))


def pass_mark(daemon: Daemon, request: plans.Request, pod: netns.Netns) -> Callable[[], int]:
    """Return what says which mark the daemon's own frames need in the pod; 0 is none."""
    if request.policy is None or daemon.enforcement is None:
        return int
    return functools.partial(daemon.enforcement.mark_of, (pod.identity, request.owner.ifname))


def joined(daemon: Daemon, request: plans.Request, pod: netns.Netns) -> None:
    """Do what comes when the ADD has succeeded, and nobody waits for."""
    if request.policy is not None and daemon.enforcement is not None:
        key = (pod.identity, request.owner.ifname)
        daemon.later(asyncio.to_thread(daemon.enforcement.remember, key), "reading what holds pods to policies")


def left(daemon: Daemon, request: plans.Request, pod: netns.Netns) -> None:
    """Undo what came before the VF, which has left the pod or has not come. Blocks."""
    if request.policy is not None and daemon.enforcement is not None:
        daemon.enforcement.release((pod.identity, request.owner.ifname), pod)


def addressed(
    daemon: Daemon,
    request: plans.Request,
    pod: netns.Netns,
    link: kernel.Link | None,
    addresses: tuple[kernel.IpInterface, ...],
) -> ledger.HostLink | None:
    """Do what comes when the VF's netdev has its addresses. Returns the host link that there is now. Blocks."""
    if request.host_link is None or link is None:
        return None
    from sriov_cni.commands.membership import host_link_requests  # noqa: PLC0415

    with timing.timed(steps.CallStep.HOST_LINK):
        guarded = guard(daemon, request, pod)
        arrived = None if guarded is None else guarded.link_arrived
        made = host_link_requests.make(daemon, pod, request, link.index, addresses, arrived=arrived)
        if made is None and request.policy is not None:
            _hold_without_link(daemon, request, pod)
        return made


def _hold_without_link(daemon: Daemon, request: plans.Request, pod: netns.Netns) -> None:
    """Have policies hold for the VF alone: nothing may pass by a name that the pod could give another link."""
    record, alone = daemon.book.read(request.vf.pci), msgspec.structs.replace(request, host_link=None)
    guarded = guard(daemon, alone, pod)
    if guarded is not None and record is not None and record.policy is not None:
        with daemon.node.kernel() as net, net.inside(pod) as inner:
            guarded.before(inner, record.policy)


def interfaces(call: Call, link: ledger.HostLink | None) -> tuple[result.Interface, ...]:
    """Return both ends of the host link for the result, the host's first, as the reference plugins have it."""
    if link is None:
        return ()
    here = result.Interface(link.name, link.address)
    return here, result.Interface(link.inside, link.inside_address, sandbox=call.invocation.netns)
