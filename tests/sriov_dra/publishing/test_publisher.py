"""Publisher beside somebody who is quicker: the watch tells of that before the answer to the driver's write is here."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from sriov_dra.publishing import publisher, slice_objects
from tests.deviceplugin import loops
from tests.sriov_dra.publishing import test_slices

Meanwhile = Callable[[publisher.SliceStore, slice_objects.DeviceSlice], None]


class ApiServer:
    """Keeps one slice, and calls `meanwhile` between the first write and its answer, as the watch does."""

    def __init__(self, meanwhile: Meanwhile) -> None:
        self.version = 0
        self.there: slice_objects.DeviceSlice | None = None
        self.made = publisher.SlicePublisher(test_slices.WHO, self)
        self._meanwhile: Meanwhile | None = meanwhile

    def keep(self, told: slice_objects.DeviceSlice, name: str) -> slice_objects.DeviceSlice:
        self.version += 1
        metadata = msgspec.structs.replace(told.metadata, name=name, resourceVersion=str(self.version))
        self.there = msgspec.structs.replace(told, metadata=metadata)
        return self.there

    async def create(self, wanted: slice_objects.DeviceSlice) -> slice_objects.DeviceSlice:
        return self._answered(self.keep(wanted, f"{wanted.metadata.generateName}{self.version}"))

    async def replace(self, wanted: slice_objects.DeviceSlice) -> slice_objects.DeviceSlice:
        return self._answered(self.keep(wanted, wanted.metadata.name))

    async def delete(self, name: str) -> None:
        raise AssertionError(f"{name} is deleted, though it is wanted")

    def _answered(self, kept: slice_objects.DeviceSlice) -> slice_objects.DeviceSlice:
        self.made.store.put(kept)
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile(self.made.store, kept)
        return kept

    def devices(self) -> list[str]:
        return [each.name for each in self.there.spec.devices] if self.there else []


def changed(api: ApiServer, store: publisher.SliceStore, kept: slice_objects.DeviceSlice) -> None:
    less = msgspec.structs.replace(kept.spec, devices=kept.spec.devices[:1])
    store.put(api.keep(msgspec.structs.replace(kept, spec=less), kept.metadata.name))


def deleted(api: ApiServer, store: publisher.SliceStore, kept: slice_objects.DeviceSlice) -> None:
    api.there = None
    store.remove(slice_objects.DeviceSlice, kept.metadata.key)


@pytest.mark.parametrize("harm", [changed, deleted])
def test_a_slice_that_somebody_harms_before_the_answer_to_its_write_is_put_right(
    harm: Callable[[ApiServer, publisher.SliceStore, slice_objects.DeviceSlice], None],
) -> None:
    pool = test_slices.wanted(test_slices.vfs(3))
    names = [each.name for each in pool.slices[0]]

    async def body() -> None:
        api = ApiServer(lambda store, kept: harm(api, store, kept))
        listed = asyncio.Event()
        listed.set()
        api.made.publish(lambda _: (pool,))
        async with loops.running(api.made.run(listed)):
            await loops.until(lambda: api.made.writes == 2)
            await loops.until(lambda: api.devices() == names)
            await loops.until(lambda: list(api.made.store.slices.values()) == [api.there])

    loops.run(body())


def test_devices_have_their_common_values_together() -> None:
    """Of a thousand VFs those of the server's answers are 5 MB, each by itself."""
    store = publisher.SliceStore(lambda: None)
    told: slice_objects.Attributes = {
        "resource": {"string": "intel.com/rail_a"}, "rdma": {"bool": True}, "vfIndex": {"int": 1}
    }  # fmt: skip
    for number in range(2):
        device = slice_objects.SliceDevice(f"d{number}", {key: dict(each) for key, each in told.items()})
        spec = slice_objects.SliceSpec("d", slice_objects.SlicePool("p", 1, 2), "n", (device,))
        found = slice_objects.DeviceSlice(slice_objects.SliceMetadata(name=f"s{number}", resourceVersion="1"), spec)
        (store.put, store.take)[number](found)
    first, second = (each.spec.devices[0].attributes for each in store.slices.values())
    assert first == second == told
    assert all(first[key] is second[key] for key in told)
    assert slice_objects.value("bool", True) != slice_objects.value("int", 1)
