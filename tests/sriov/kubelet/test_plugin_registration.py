"""Registration service, over its socket, as the kubelet calls it for a device plugin and for a DRA driver."""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from sriov.kubelet import plugin_registration
from sriov.kubelet._pb import pluginregistration_pb2 as pb
from sriov.kubelet._pb import pluginregistration_pb2_grpc as pb_grpc

DEVICE_PLUGIN = plugin_registration.PluginInfo("DevicePlugin", "intel.com/a", ("v1beta1",))
DRIVER = plugin_registration.PluginInfo(
    "DRAPlugin", "sriov.example.org", ("v1.DRAPlugin", "v1beta1.DRAPlugin"), "/d/sock"
)


def served(
    folder: pathlib.Path,
    plugin: plugin_registration.PluginInfo,
    body: Callable[[plugin_registration.RegistrationService, Any], Awaitable[None]],
) -> None:
    """Run `body` with the service and a kubelet's client of its socket."""

    async def whole() -> None:
        service, server = plugin_registration.RegistrationService(plugin), grpc.aio.server()
        service.add_to(server)
        server.add_insecure_port(f"unix:{folder}/reg.sock")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"unix:{folder}/reg.sock") as channel:
                await body(service, pb_grpc.RegistrationStub(channel))
        finally:
            await server.stop(None)

    asyncio.run(asyncio.wait_for(whole(), 30))


@pytest.mark.parametrize("plugin", [DEVICE_PLUGIN, DRIVER], ids=lambda each: each.kind)
def test_the_kubelet_is_told_type_name_versions_and_endpoint(
    tmp_path: pathlib.Path, plugin: plugin_registration.PluginInfo
) -> None:
    async def body(_: plugin_registration.RegistrationService, kubelet: Any) -> None:
        told = await kubelet.GetInfo(pb.InfoRequest())
        assert (told.type, told.name, tuple(told.supported_versions)) == (plugin.kind, plugin.name, plugin.versions)
        assert told.endpoint == plugin.endpoint

    served(tmp_path, plugin, body)


def test_the_kubelets_first_answer_counts(tmp_path: pathlib.Path) -> None:
    """A restarted kubelet answers again, and what it says then changes nothing here."""

    async def body(service: plugin_registration.RegistrationService, kubelet: Any) -> None:
        waiting = asyncio.ensure_future(service.accepted())
        await asyncio.sleep(0)
        assert not waiting.done()
        await kubelet.NotifyRegistrationStatus(pb.RegistrationStatus(plugin_registered=True))
        await kubelet.NotifyRegistrationStatus(pb.RegistrationStatus(plugin_registered=False, error="too old"))
        await waiting

    served(tmp_path, DRIVER, body)


def test_a_refusal_has_the_kubelets_reason(tmp_path: pathlib.Path) -> None:
    async def body(service: plugin_registration.RegistrationService, kubelet: Any) -> None:
        await kubelet.NotifyRegistrationStatus(pb.RegistrationStatus(plugin_registered=False, error="too old"))
        with pytest.raises(plugin_registration.RefusedError, match=r"^too old$"):
            await service.accepted()

    served(tmp_path, DRIVER, body)
