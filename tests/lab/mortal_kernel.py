"""The guest's kernel for a daemon that dies by SIGKILL right after one of its requests, or before the first.

Only requests that change something count. All threads of the daemon share the count, and it dies as a whole.
"""

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from sriov.linux import kernel
from sriov_cni import app as daemon
from tests.lab import watched_kernel

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
            yield watched_kernel.around(net, life.request)

    return opened
