"""The CNI daemon's endpoint: whether a pod could get its VF now. Imported only where it is asked for."""

import asyncio
import pathlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from observability import addresses, endpoint, pages, registries
from sriov import errors
from sriov_cni import calls, failure


def serving(daemon: calls.Daemon, socket: pathlib.Path, where: addresses.Address) -> AbstractAsyncContextManager[None]:
    """Answer until the context ends. Raises SriovError where it cannot."""

    async def problems() -> Sequence[str]:
        return await asyncio.to_thread(found, daemon, socket)

    return endpoint.serving(where, pages.routes(problems, registries.registry("CNI daemon")))


def found(daemon: calls.Daemon, socket: pathlib.Path) -> list[str]:
    """What would fail every ADD. The kernel is not asked: that is what STATUS is for, and a probe comes often."""
    problems = [] if socket.is_socket() else [f"there is no socket at {socket}: shims wait, then fail"]
    try:
        daemon.book.try_out()
        if daemon.guard is not None:
            daemon.guard.try_out()
    except (errors.SriovError, failure.CniError) as error:
        problems.append(str(error))
    return problems
