"""Health of devices for the kubelet: the whole list, at each change, and again before the kubelet forgets it."""

import asyncio
import pathlib
from collections.abc import Callable

import pytest

from sriov.kubelet._pb import drahealthv1_pb2, drahealthv1alpha1_pb2
from sriov.pools import health
from sriov_dra.kubelet import health_service
from tests.deviceplugin import loops
from tests.sriov_dra.claims import claims, test_preparing

UNCLEAN = health.Conditions(dirty={"0000:01:00.1": "was left behind by a pod and is not clean yet"})


def _nothing() -> None:
    pass


class Stream:
    """The kubelet's end; `slow` is what happens while a message is on its way."""

    def __init__(self) -> None:
        self.told: list[dict[str, tuple[int, str]]] = []
        self.slow: Callable[[], None] = _nothing

    async def write(self, message: object) -> None:
        devices = message.devices  # type: ignore[attr-defined]
        assert {each.device.pool_name for each in devices} == {claims.POOL}
        self.told.append({each.device.device_name: (each.health, each.message) for each in devices})
        slow, self.slow = self.slow, _nothing
        slow()
        await asyncio.sleep(0)


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> test_preparing.Bench:
    return test_preparing.Bench(tmp_path, count=2)


def test_a_change_while_a_list_is_sent_is_sent_next(bench: test_preparing.Bench) -> None:
    async def body() -> None:
        board, stream = health_service.HealthBoard(), Stream()
        board.show(bench.taken())
        bench.now = UNCLEAN
        stream.slow = lambda: board.show(bench.taken())
        watching = health_service.HealthService(board, drahealthv1_pb2).NodeWatchResources(None, stream)
        async with loops.running(watching):
            await loops.until(lambda: len(stream.told) == 2)
        text = "it was left behind by a pod and is not clean yet"
        assert stream.told == [
            {"0000-01-00-0": (1, ""), "0000-01-00-1": (1, "")},
            {"0000-01-00-0": (1, ""), "0000-01-00-1": (2, text)},
        ]

    loops.run(body())


def test_without_a_change_it_is_sent_again_and_the_end_ends_it(bench: test_preparing.Bench) -> None:
    async def body() -> None:
        board, stream = health_service.HealthBoard(again=0.05), Stream()
        board.show(bench.taken())
        watching = health_service.HealthService(board, drahealthv1alpha1_pb2).NodeWatchResources(None, stream)
        task = asyncio.create_task(watching)
        await loops.until(lambda: len(stream.told) >= 3)
        board.end()
        await asyncio.wait_for(task, 10)

    loops.run(body())
