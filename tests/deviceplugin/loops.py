"""Runs a test's coroutine and sees that it leaves no task behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine


def run(coroutine: Coroutine[object, object, None], timeout: float = 60.0) -> None:
    asyncio.run(_alone(coroutine, timeout))


async def _alone(coroutine: Coroutine[object, object, None], timeout: float) -> None:
    await asyncio.wait_for(coroutine, timeout)
    with contextlib.suppress(TimeoutError):  # grpc.aio ends its own tasks in the next turns of the loop
        await until(lambda: not _others())
    assert not _others()


def _others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@contextlib.asynccontextmanager
async def running(endless: Coroutine[object, object, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run something beside the test that ends only by cancellation; what it dies of is raised here."""
    task = asyncio.create_task(endless)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(met: Callable[[], bool], timeout: float = 10.0) -> None:
    """Look until it is so. Raises TimeoutError. The usual limit is shorter than any pause that an event shall end."""
    async with asyncio.timeout(timeout):
        while not met():
            await asyncio.sleep(0.005)
