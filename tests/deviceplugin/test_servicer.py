"""One resource's service, over real sockets."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable, Coroutine

import grpc
import msgspec
import pytest

from deviceplugin import device_files, servicer
from sriov.kubelet._pb import deviceplugin_pb2 as pb
from sriov.kubelet._pb import deviceplugin_pb2_grpc as pb_grpc
from sriov.pools import assignment
from tests.deviceplugin import loops
from tests.sriov.pools import facts

BOTH = facts.pool(facts.device(0), facts.device(1, "has no driver"))
ONE = facts.pool(facts.device(0))


class Bench:
    """The service on a socket, a client of it, and how often it called back."""

    def __init__(self, pool: assignment.Pool) -> None:
        self.changes = 0
        self.refused = 0
        self.servicer = servicer.Servicer(
            pool, device_files.Handout(facts.NOWHERE), self._count_change, self._count_refused
        )
        self.stub: pb_grpc.DevicePluginStub = None

    def _count_change(self) -> None:
        self.changes += 1

    def _count_refused(self) -> None:
        self.refused += 1

    async def ids(self, stream: grpc.aio.UnaryStreamCall, timeout: float = 10.0) -> list[str]:
        """The next list on the stream."""
        async with asyncio.timeout(timeout):
            return [device.ID for device in (await stream.read()).devices]

    async def allocate(self, *containers: list[str]) -> list[dict[str, str]]:
        asked = [pb.ContainerAllocateRequest(devices_ids=ids) for ids in containers]
        answer = await self.stub.Allocate(pb.AllocateRequest(container_requests=asked))
        return [dict(container.envs) for container in answer.container_responses]


@contextlib.asynccontextmanager
async def serving(folder: pathlib.Path, pool: assignment.Pool) -> AsyncIterator[Bench]:
    bench = Bench(pool)
    server = grpc.aio.server()
    bench.servicer.add_to(server)
    server.add_insecure_port(f"unix:{folder}/a.sock")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{folder}/a.sock") as channel:
            bench.stub = pb_grpc.DevicePluginStub(channel)
            yield bench
    finally:
        await server.stop(None)


def on_bench(
    folder: pathlib.Path, pool: assignment.Pool, body: Callable[[Bench], Coroutine[object, object, None]]
) -> None:
    async def whole() -> None:
        async with serving(folder, pool) as bench:
            await body(bench)

    loops.run(whole())


def test_d20_the_list_comes_at_once_even_if_empty(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        assert await bench.ids(bench.stub.ListAndWatch(pb.Empty())) == []

    on_bench(tmp_path, facts.pool(), body)


def test_d21_d22_d30_the_list_says_it_all() -> None:
    full = facts.pool(facts.device(0, numa_node=0), facts.device(1, "has no driver"), facts.device(2, numa_node=1))
    listed = servicer.response(full).devices  # type: ignore[attr-defined]
    assert [(device.ID, device.health) for device in listed] == [
        ("0000:01:00.0", "Healthy"),
        ("0000:01:00.1", "Unhealthy"),
        ("0000:01:00.2", "Healthy"),
    ]
    assert [[node.ID for node in device.topology.nodes] for device in listed] == [[0], [], [1]]
    assert not listed[1].HasField("topology")


def test_d27_the_kubelet_can_receive_more_vfs_than_a_node_has() -> None:
    many = facts.pool(*(assignment.Device(f"{number:04x}:01:00.0", facts.vf(), numa_node=1) for number in range(16384)))
    assert servicer.response(many).ByteSize() < 1 << 20  # type: ignore[attr-defined]


def test_d25_only_a_change_is_told(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        stream = bench.stub.ListAndWatch(pb.Empty())
        await bench.ids(stream)
        await loops.until(lambda: bench.servicer.told)  # the list may be read before its sending is noted
        assert not bench.servicer.publish(facts.pool(*BOTH.devices))
        assert bench.servicer.told
        with pytest.raises(TimeoutError):
            await bench.ids(stream, 0.3)

    on_bench(tmp_path, BOTH, body)


def test_d25_a_burst_of_changes_is_told_as_one(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        stream = bench.stub.ListAndWatch(pb.Empty())
        await bench.ids(stream)
        for number in range(1000):
            bench.servicer.publish(facts.pool(facts.device(number % 8)))
        assert await bench.ids(stream) == [facts.device(7).id]

    on_bench(tmp_path, BOTH, body)


def test_d26_every_stream_hears_of_every_change(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        streams = [bench.stub.ListAndWatch(pb.Empty()) for _ in range(3)]
        for stream in streams:
            await bench.ids(stream)
        assert bench.servicer.streams == bench.servicer.opened == 3
        streams.pop().cancel()
        await loops.until(lambda: bench.servicer.streams == 2)
        for pool in (ONE, BOTH, facts.pool()):
            bench.servicer.publish(pool)
            expected = [device.id for device in pool.devices]
            assert [await bench.ids(stream) for stream in streams] == [expected] * 2

    on_bench(tmp_path, BOTH, body)


def test_a_stream_ends_by_cancellation_or_when_told_and_each_change_is_noticed(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        first, second = (bench.stub.ListAndWatch(pb.Empty()) for _ in range(2))
        await bench.ids(first)
        await bench.ids(second)
        assert bench.changes == 2
        first.cancel()
        await loops.until(lambda: bench.changes == 3)
        assert bench.servicer.streams == 1
        bench.servicer.end_streams()
        assert await second.read() is grpc.aio.EOF
        assert await second.code() is grpc.StatusCode.OK
        assert (bench.changes, bench.servicer.streams) == (4, 0)

    on_bench(tmp_path, BOTH, body)


def test_d8_d41_options(tmp_path: pathlib.Path) -> None:
    """As in Register: a preference is to be had, and nothing is done when a container starts."""

    async def body(bench: Bench) -> None:
        options = await bench.stub.GetDevicePluginOptions(pb.Empty())
        assert options == pb.DevicePluginOptions(pre_start_required=False, get_preferred_allocation_available=True)
        assert await bench.stub.PreStartContainer(pb.PreStartContainerRequest(devices_ids=["x"])) == (
            pb.PreStartContainerResponse()
        )

    on_bench(tmp_path, BOTH, body)


def test_d40_a_preference_for_each_container(tmp_path: pathlib.Path) -> None:
    ids = [facts.device(number).id for number in range(4)]

    async def body(bench: Bench) -> None:
        asked = [
            pb.ContainerPreferredAllocationRequest(
                available_deviceIDs=ids, must_include_deviceIDs=must, allocation_size=size
            )
            for must, size in (([], 1), ([ids[3]], 2), ([], 9))
        ]
        answer = await bench.stub.GetPreferredAllocation(pb.PreferredAllocationRequest(container_requests=asked))
        assert [list(each.deviceIDs) for each in answer.container_responses] == [[ids[0]], [ids[3], ids[0]], ids]

    on_bench(tmp_path, facts.pool(*(facts.device(number) for number in range(4))), body)


def test_d31_one_answer_a_container_in_order(tmp_path: pathlib.Path) -> None:
    first, second = facts.device(0).id, facts.device(2).id

    async def body(bench: Bench) -> None:
        given = await bench.allocate([second], [], [first, second])
        assert [envs["PCIDEVICE_INTEL_COM_A"] for envs in given] == [second, "", f"{first},{second}"]
        assert await bench.allocate() == []

    on_bench(tmp_path, facts.pool(facts.device(0), facts.device(2)), body)


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        (["0000:99:00.0"], grpc.StatusCode.INVALID_ARGUMENT),
        ([facts.device(0).id] * 2, grpc.StatusCode.INVALID_ARGUMENT),
        ([facts.device(1).id], grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
def test_d32_a_request_that_cannot_be_met(tmp_path: pathlib.Path, ids: list[str], code: grpc.StatusCode) -> None:
    async def body(bench: Bench) -> None:
        with pytest.raises(grpc.aio.AioRpcError, match=r"intel\.com/a") as caught:
            await bench.allocate([facts.device(0).id], ids)
        assert caught.value.code() is code
        assert bench.refused == 1

    on_bench(tmp_path, BOTH, body)


def test_d35_d36_devices_are_not_locked_and_requests_may_meet(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        given = await asyncio.gather(*(bench.allocate([facts.device(0).id]) for _ in range(50)))
        assert given == [given[0]] * 50
        assert bench.refused == 0

    on_bench(tmp_path, BOTH, body)


def test_a_healed_device_can_be_allocated(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        healed = msgspec.structs.replace(BOTH.devices[1], ailment=None)
        assert bench.servicer.publish(facts.pool(healed))
        assert (await bench.allocate([healed.id]))[0]["PCIDEVICE_INTEL_COM_A"] == healed.id

    on_bench(tmp_path, BOTH, body)
