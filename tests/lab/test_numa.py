"""The kubelet hears which NUMA node a VF is near to, of a NIC that is plugged in at the far one too."""

import asyncio
import pathlib

from tests.fakes import kubelet as fake
from tests.lab import deviceplugins, igb, plugging


def test_the_kernels_numa_node_reaches_the_kubelet(tmp_path: pathlib.Path) -> None:
    far = plugging.FAR

    async def body(kubelet: fake.Kubelet) -> None:
        listed = kubelet.resources[deviceplugins.POOL].values()
        assert {device.numa_node for device in listed} == {None}, "the firmware says nothing of the main root bus"
        try:
            await asyncio.to_thread(far.plug)
            both = await deviceplugins.followed(kubelet, "plugged in", 14)
            vfs = {igb.vf(index, far.pf).pci for index in range(7)}
            assert {name for name, device in both.items() if device.numa_node == 1} == vfs
        finally:
            await asyncio.to_thread(far.unplug)
        await deviceplugins.followed(kubelet, "unplugged", 7)

    deviceplugins.on_node(tmp_path, body, {"rootDevices": [str(igb.PF0), str(far.pf)]})
