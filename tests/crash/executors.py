"""Threads that are none: work is done on the event loop, so that the order of effects is the same each time."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class AtOnce(concurrent.futures.ThreadPoolExecutor):
    """Does the work when it is submitted: an IPAM plugin that was asked before answers after it."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> concurrent.futures.Future[_T]:
        done: concurrent.futures.Future[_T] = concurrent.futures.Future()
        _do(done, lambda: fn(*args, **kwargs))
        return done


class Later(concurrent.futures.ThreadPoolExecutor):
    """Does the work after `turns` turns of the event loop: an IPAM plugin that was asked before may answer first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        super().__init__(1)
        self._loop = loop
        self._turns = turns

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> concurrent.futures.Future[_T]:
        done: concurrent.futures.Future[_T] = concurrent.futures.Future()
        self._after(self._turns, lambda: _do(done, lambda: fn(*args, **kwargs)))
        return done

    def _after(self, turns: int, work: Callable[[], None]) -> None:
        if turns == 0:
            work()
        else:
            self._loop.call_soon(self._after, turns - 1, work)


def _do(done: concurrent.futures.Future[_T], work: Callable[[], _T]) -> None:
    try:
        result = work()
    except BaseException as error:  # as a pool's thread does: it belongs to whoever waits
        done.set_exception(error)
    else:
        done.set_result(result)
