"""The guest's kernel for a daemon that dies by SIGKILL right after one of its requests, or before the first.

Only requests that change something count. All threads of the daemon share the count, and it dies as a whole.
"""

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager

from sriov import kernel, netns, nsids, settings
from sriov_cni import __main__ as daemon

NEVER = -1


class Life:
    """Of one daemon, all its threads together: it ends with its `last` request; 0 is before the first."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._made = itertools.count(1)

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Around each request. One that is refused counts too: a driver may have done a part of it."""
        if self._last == 0:
            _die()
        try:
            yield
        finally:
            if next(self._made) == self._last:
                _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def opener(last: int) -> Callable[[], AbstractContextManager[kernel.Kernel]]:
    """Requests in the host's namespace, as sriov_cni's main wants them."""
    life = Life(last)

    @contextlib.contextmanager
    def opened() -> Iterator[kernel.Kernel]:
        with daemon.open_netlink() as net:
            yield MortalKernel(net, life)

    return opened


class MortalKernel:
    """The kernel that it wraps, in a daemon of that life."""

    def __init__(self, net: kernel.Kernel, life: Life) -> None:
        self._net = net
        self._life = life

    def link(self, ref: kernel.LinkRef) -> kernel.Link:
        return self._net.link(ref)

    def links(self) -> tuple[kernel.Link, ...]:
        return self._net.links()

    def set_link(self, ref: kernel.LinkRef, change: kernel.Change) -> None:
        with self._life.request():
            self._net.set_link(ref, change)

    def rename(self, index: int, name: str) -> None:
        with self._life.request():
            self._net.rename(index, name)

    def move(self, index: int, target: netns.Netns, name: str) -> None:
        with self._life.request():
            self._net.move(index, target, name)

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> None:
        with self._life.request():
            self._net.set_vf(pf, vf, wanted, which)

    def vf(self, pf: int, vf: int) -> settings.VfSettings:
        return self._net.vf(pf, vf)

    def add_address(self, index: int, address: kernel.IpInterface) -> None:
        with self._life.request():
            self._net.add_address(index, address)

    def addresses(self, index: int) -> tuple[kernel.IpInterface, ...]:
        return self._net.addresses(index)

    def add_route(self, index: int, route: kernel.Route) -> None:
        with self._life.request():
            self._net.add_route(index, route)

    def routes(self, index: int) -> tuple[kernel.Route, ...]:
        return self._net.routes(index)

    def rdma_is_exclusive(self) -> bool:
        return self._net.rdma_is_exclusive()

    def rdma_devices(self) -> tuple[kernel.RdmaDevice, ...]:
        return self._net.rdma_devices()

    def move_rdma(self, index: int, target: netns.Netns) -> None:
        with self._life.request():
            self._net.move_rdma(index, target)

    def rename_rdma(self, index: int, name: str) -> None:
        with self._life.request():
            self._net.rename_rdma(index, name)

    def mark(self, target: netns.Netns) -> nsids.Mark | None:
        with self._life.request():
            return self._net.mark(target)

    def is_gone(self, mark: nsids.Mark) -> bool:
        return self._net.is_gone(mark)

    @contextlib.contextmanager
    def inside(self, target: netns.Netns) -> Iterator["MortalKernel"]:
        with self._net.inside(target) as other:
            yield MortalKernel(other, self._life)
