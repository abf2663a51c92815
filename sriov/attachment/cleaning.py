"""Comparison of a VF's netdev with what it was when it was first seen, and the repair of what differs.

Every setting is compared, with no list of suspects, so settings of new drivers and kernels count without a change here.
"""

import contextlib
import errno
import logging

from sriov import errors, timing
from sriov.attachment import host_names
from sriov.attachment.node import AttachmentStep
from sriov.linux import kernel
from sriov.linux.netdev import netdev_settings

_log = logging.getLogger(__name__)

# XDP first: a program forbids other sizes. Then channels: the spread over queues follows their number.
_FIRST = (netdev_settings.XDP, "channels")


def first_look(net: kernel.Kernel, index: int) -> kernel.LinkState:
    """Read the settings of a netdev that is down, as it also is when it is compared.

    Drivers show other settings of a netdev that is up, as bnxt does of RSS (bnxt_get_rxfh()): raises KernelError
    (EBUSY) then.
    """
    link, state = net.look(index)
    if link.up:
        raise errors.KernelError(f"note the settings of link {index}", errno.EBUSY, "take it down: nobody has it")
    return state


def look_when_down(
    net: kernel.Kernel, index: int, noted: kernel.LinkState | None
) -> tuple[kernel.Link, kernel.LinkState]:
    """Take the netdev down and return it with its settings. Raises KernelError.

    Of a pod that adds altnames until the last moment one may have come along: those not in `noted` are removed.
    """
    with timing.timed(AttachmentStep.COMPARE):
        link, found = net.look(index, noted)
        own = netdev_settings.altnames(noted or {})
        if not link.up and own.issuperset(link.altnames):
            return link, found
        if link.up:
            net.set_link(index, kernel.Change(up=False))
        host_names.drop_altnames(net, link, own)
        return net.look(index, noted)


def clean(
    net: kernel.Kernel, index: int, noted: kernel.LinkState | None, found: kernel.LinkState | None = None
) -> kernel.LinkState:
    """Set back what differs; returns what still differs, with its present values.

    `found` are the present settings; they are read if it is None.
    `noted` is None if nobody saw the VF before it had an owner. A setting that changes between two reads changes by
    itself and is no tenant's: it is not returned. Raises KernelError.
    """
    with timing.timed(AttachmentStep.COMPARE):
        found = net.state(index, noted) if found is None else found
        own = netdev_settings.presumed(found) if noted is None else noted
        # An altname that is there still was given in the host meanwhile.
        own = netdev_settings.with_altnames_of(own, found)
        if found == own:
            return {}
        _set_back(net, index, own, found)
        now = net.state(index, noted)
        differs = netdev_settings.differing(own, now)
        if differs:
            differs -= netdev_settings.differing(now, net.state(index, noted))
        return {key: now.get(key, b"") for key in differs}


def remaining(net: kernel.Kernel, index: int, noted: kernel.LinkState | None, left: kernel.LinkState) -> frozenset[str]:
    """Return the keys of `left` whose value the driver's rebind has not removed.

    A value that is neither the first one nor the tenant's is the driver's own, which it makes each time it is bound.
    """
    now = net.state(index, noted)
    own = netdev_settings.presumed(now) if noted is None else noted
    return frozenset(key for key, value in left.items() if now.get(key, b"") == value != own.get(key, b""))


def _set_back(net: kernel.Kernel, index: int, own: kernel.LinkState, found: kernel.LinkState) -> None:
    """Restore each setting that can be restored; the next look shows those that were refused."""
    groups = {netdev_settings.group(key) for key in netdev_settings.differing(own, found)}
    for name in sorted(groups, key=lambda each: (each not in _FIRST, each)):
        _log.info("link %d: a former owner has changed its %s", index, name)
        with contextlib.suppress(errors.KernelError):
            net.restore(index, name, own, found)
