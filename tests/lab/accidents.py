"""Something that happens right before or after one of an attachment's requests to the guest's kernel."""

import contextlib
import itertools
from collections.abc import Callable, Iterator

import msgspec

from sriov.attachment.node import Node
from sriov.linux import kernel
from tests.lab import igb, watched_kernel


class Accident:
    """`action` is done at the request with this number, 0 for the first. `happened` tells whether there was one."""

    def __init__(self, number: int, action: Callable[[], object], *, after: bool = False) -> None:
        self._number = number
        self._action = action
        self._after = after
        self._made = itertools.count()
        self.happened = False

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        now = next(self._made) == self._number
        self.happened |= now
        if now and not self._after:
            self._action()
        yield
        if now and self._after:
            self._action()

    def on(self, here: Node) -> Node:
        """The node on which it happens."""
        return msgspec.structs.replace(here, kernel=self._opened)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[kernel.Kernel]:
        with igb.opened() as net:
            yield watched_kernel.around(net, self.request)
