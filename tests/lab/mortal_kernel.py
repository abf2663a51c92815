"""The guest's kernel for a daemon that dies by SIGKILL right after one of its requests, or before the first.

Only requests that change something count. All threads of the daemon share the count, and it dies as a whole.
"""

import contextlib
import functools
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, cast

from sriov import kernel, netns
from sriov_cni import __main__ as daemon

NEVER = -1
_QUESTIONS = {"link", "links", "vf", "addresses", "routes", "rdma_is_exclusive", "rdma_devices", "is_gone"}


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
            yield cast(kernel.Kernel, MortalKernel(net, life))

    return opened


class MortalKernel:
    """The kernel that it wraps, in a daemon of that life: every method is that one's."""

    def __init__(self, net: kernel.Kernel, life: Life) -> None:
        self._net = net
        self._life = life

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._net, name)
        return method if name in _QUESTIONS else functools.partial(self._do, method)

    def _do(self, method: Callable[..., Any], *arguments: Any) -> Any:
        with self._life.request():
            return method(*arguments)

    @contextlib.contextmanager
    def inside(self, target: netns.Netns) -> Iterator[kernel.Kernel]:
        with self._net.inside(target) as other:
            yield cast(kernel.Kernel, MortalKernel(other, self._life))
