"""The guest's kernel with something around each request that changes anything: a death, an accident.

What is asked is not counted: nothing is different after it.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, cast

from sriov.linux import kernel, netns

_QUESTIONS = {
    "link", "links", "vf", "addresses", "pending", "routes", "rdma_is_exclusive", "rdma_devices", "is_gone",
    "global_addresses", "source_to", "neighbours", "rules", "needs_nft", "nft_comment",
}  # fmt: skip

Watch = Callable[[], AbstractContextManager[None]]


def around(net: kernel.Kernel, watch: Watch) -> kernel.Kernel:
    """`net`, with each change inside of `watch()`, in other namespaces too."""
    return cast(kernel.Kernel, _WatchedKernel(net, watch))


class _WatchedKernel:
    def __init__(self, net: kernel.Kernel, watch: Watch) -> None:
        self._net = net
        self._watch = watch

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._net, name)
        return method if name in _QUESTIONS else functools.partial(self._do, method)

    def _do(self, method: Callable[..., Any], *arguments: Any) -> Any:
        with self._watch():
            return method(*arguments)

    @contextlib.contextmanager
    def inside(self, target: netns.Netns) -> Iterator[kernel.Kernel]:
        with self._net.inside(target) as other:
            yield around(other, self._watch)
