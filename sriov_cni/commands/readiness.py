"""Readiness of a pod's link: waits for a carrier, and for IPv6 addresses that can be used. Both waits are bounded.

The waits are on the event loop, so that a waiting pod occupies no thread.
"""

import asyncio
from collections.abc import Sequence

from sriov import errors, timing
from sriov.attachment.node import AttachmentStep
from sriov.linux import kernel, netns
from sriov_cni.context import steps
from sriov_cni.context.calls import Daemon, log

CARRIER_PATIENCE = 3.0  # seconds
DETECTION_PATIENCE = 10.0  # seconds, as SettleAddresses() waits (containernetworking/plugins, pkg/ipam/ipam_linux.go)
_POLL = 0.05


async def carrier(daemon: Daemon, pod: netns.Netns, link: kernel.Link | None) -> None:
    """Wait for a carrier, for an IPAM plugin that sends frames: dhcp waits ten seconds before its second try."""
    deadline = asyncio.get_running_loop().time() + CARRIER_PATIENCE
    with timing.timed(AttachmentStep.POD):
        while link is not None and not link.running and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL)
            link = await asyncio.to_thread(_link, daemon, pod, link.index)


async def addresses(
    daemon: Daemon, pod: netns.Netns, link: kernel.Link | None, given: Sequence[kernel.IpInterface]
) -> None:
    """Wait until duplicate detection is over: a program in the pod can then bind to its addresses at once.

    Raises BusyError for an address that a neighbour has: the pod could not use it, and the next ADD may get another.
    Without a carrier the detection does not begin, and it may take long: neither is an error.
    """
    expected: set[kernel.IpInterface] = {each for each in given if each.version == 6}
    if link is None or not expected:
        return
    with timing.timed(steps.CallStep.ADDRESSES):
        taken = await _settled(daemon, pod, link.index, expected)
    if taken:
        raise errors.BusyError(
            f"IPv6 address {min(map(str, taken))} of {link.name} is in use by a neighbour on this network",
            "find out who has it; the next ADD may be given another",
        )


async def _settled(
    daemon: Daemon, pod: netns.Netns, index: int, expected: set[kernel.IpInterface]
) -> set[kernel.IpInterface]:
    """Return the addresses that a neighbour has, as soon as one is known."""
    started = asyncio.get_running_loop().time()
    while True:
        running, pending, usable = await asyncio.to_thread(_look, daemon, pod, index)
        taken, waited = expected - usable, asyncio.get_running_loop().time() - started
        if taken or not pending & expected:
            return taken
        if waited > (DETECTION_PATIENCE if running else CARRIER_PATIENCE):
            log.info("IPv6 addresses of link %d cannot be used yet, after %.0f s", index, waited)
            return taken
        await asyncio.sleep(_POLL)


def _link(daemon: Daemon, pod: netns.Netns, index: int) -> kernel.Link:
    with daemon.node.kernel() as net, net.inside(pod) as inner:
        return inner.link(index)


def _look(
    daemon: Daemon, pod: netns.Netns, index: int
) -> tuple[bool, set[kernel.IpInterface], set[kernel.IpInterface]]:
    with daemon.node.kernel() as net, net.inside(pod) as inner:
        return inner.link(index).running, set(inner.pending(index)), set(inner.addresses(index))
