"""Whether a VF's netdev is as it was when it was first seen, and setting back what is not.

Compared and not listed: a driver or a kernel that brings new settings is held to them without a change here.
"""

import contextlib
import errno
import logging

from sriov import errors, timing
from sriov.attachment.node import AttachmentStep
from sriov.linux import kernel
from sriov.linux.netdev import netdev_settings

_log = logging.getLogger(__name__)

# A program forbids other sizes, and the spread over queues follows their number.
_FIRST = (netdev_settings.XDP, "channels")


def first_look(net: kernel.Kernel, index: int) -> kernel.LinkState:
    """The settings of a netdev that is down, as it will be when it is compared.

    Drivers show other things of one that is up, as bnxt does of RSS (bnxt_get_rxfh()): KernelError (EBUSY) then.
    """
    if net.link(index).up:
        raise errors.KernelError(f"note the settings of link {index}", errno.EBUSY, "take it down: nobody has it")
    return net.state(index)


def clean(net: kernel.Kernel, index: int, noted: kernel.LinkState | None) -> kernel.LinkState:
    """Set back what differs; returns what differs still, as it is now. `noted` is None where nobody saw the VF before.

    What is another thing each time one looks changes by itself, and no tenant has left it. Raises KernelError.
    """
    with timing.timed(AttachmentStep.COMPARE):
        found = net.state(index, noted)
        own = netdev_settings.presumed(found) if noted is None else noted
        # Altnames that are more were given at home: the pod's have been dropped before.
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
    """Which of what was `left` has outlasted a new driver.

    A value that is neither the first one nor the tenant's is the driver's own, which it makes anew each time.
    """
    now = net.state(index, noted)
    own = netdev_settings.presumed(now) if noted is None else noted
    return frozenset(key for key, value in left.items() if now.get(key, b"") == value != own.get(key, b""))


def _set_back(net: kernel.Kernel, index: int, own: kernel.LinkState, found: kernel.LinkState) -> None:
    """Whatever of it can be: what was refused shows in the next look."""
    groups = {netdev_settings.group(key) for key in netdev_settings.differing(own, found)}
    for name in sorted(groups, key=lambda each: (each not in _FIRST, each)):
        _log.info("link %d: a former owner has changed its %s", index, name)
        with contextlib.suppress(errors.KernelError):
            net.restore(index, name, own, found)
