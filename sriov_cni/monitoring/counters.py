"""What went through a VF's netdev, as the kernel of its namespace counts it, read without a netlink request.

A VF's PF knows counters too, where its driver has ndo_get_vf_stats(), but to tell one VF's the kernel gathers all of
that PF under its global lock, which pods' ADDs wait for. /proc/net/dev takes no such lock (net/core/net-procfs.c). It
shows what the netdev carried: not RDMA, which passes it by, and not what a program does with a VF of its own.
"""

import dataclasses
import os

from sriov import errors
from sriov.linux import netns
from sriov.state import ledger


@dataclasses.dataclass(frozen=True, slots=True)
class Direction:
    """`dropped` of the receiving side has what the card missed for want of room."""

    bytes: int
    packets: int
    errors: int
    dropped: int


@dataclasses.dataclass(frozen=True, slots=True)
class Counters:
    """Since the VF's driver was bound: they go on from pod to pod, so that only their growth is a pod's own."""

    received: Direction
    sent: Direction


def of(record: ledger.Record) -> Counters | None:
    """Of the netdev in its pod; None where there is none, or its namespace cannot be entered. Blocks a moment.

    By its name, which root in the pod can give to another link: it is the pod's own counters that lie then.
    """
    if record.home is None:
        return None
    try:
        with netns.open_path(record.owner.netns) as pod:
            if pod.identity != record.netns:
                return None
            with netns.entered(pod):
                text = _of_this_thread()
    except (errors.NetnsError, OSError):
        return None
    return shown(text, record.owner.ifname)


def _of_this_thread() -> str:
    """/proc/net is of the process, whose main thread is at home."""
    descriptor = os.open("/proc/thread-self/net/dev", os.O_RDONLY | os.O_CLOEXEC)
    with open(descriptor, encoding="ascii", errors="replace") as file:
        return file.read()


def shown(text: str, name: str) -> Counters | None:
    """One link's line of /proc/net/dev. Pure."""
    for line in text.splitlines():
        link, _, rest = line.partition(":")
        if link.strip() == name:
            numbers = [int(each) for each in rest.split()]
            return Counters(Direction(*numbers[0:4]), Direction(*numbers[8:12]))
    return None
