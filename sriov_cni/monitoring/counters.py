"""Counters of a VF's netdev, as the kernel counts them in the pod's namespace, read without a netlink request.

A VF's PF has counters too, if its driver has ndo_get_vf_stats(), but to report one VF's the kernel reads all VFs of
that PF under its global lock, which pods' ADDs wait for. /proc/net/dev takes no such lock (net/core/net-procfs.c). It
shows what the netdev carried: no RDMA, which bypasses it, and nothing that a program does with a VF of its own.
"""

import os

import msgspec

from sriov import errors
from sriov.linux import netns
from sriov.state import ledger


class Direction(msgspec.Struct, frozen=True):
    """Counters of one direction. `dropped` on receiving includes what the card missed for lack of buffers."""

    bytes: int
    packets: int
    errors: int
    dropped: int


class Counters(msgspec.Struct, frozen=True):
    """Counters since the VF's driver was bound: they continue from pod to pod, so only their growth is a pod's own."""

    received: Direction
    sent: Direction


def of(record: ledger.Record) -> Counters | None:
    """Read the counters of the netdev in its pod; None without one, or if its namespace cannot be entered. Blocks.

    The netdev is found by name, which root in the pod can give to another link: then only the pod's own counters lie.
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
    """Read the calling thread's counters: /proc/net is the process's, whose main thread is in the host's namespace."""
    descriptor = os.open("/proc/thread-self/net/dev", os.O_RDONLY | os.O_CLOEXEC)
    with open(descriptor, encoding="ascii", errors="replace") as file:
        return file.read()


def shown(text: str, name: str) -> Counters | None:
    """Parse one link's line of /proc/net/dev. Pure."""
    for line in text.splitlines():
        link, _, rest = line.partition(":")
        if link.strip() == name:
            numbers = [int(each) for each in rest.split()]
            return Counters(Direction(*numbers[0:4]), Direction(*numbers[8:12]))
    return None
