"""Registration through the plugin watcher, against the stand-in kubelet's."""

import asyncio
import os
import pathlib
import stat
from collections.abc import Callable, Coroutine

import grpc
import pytest

from deviceplugin import device_files, registration, session
from sriov.kubelet._pb import pluginregistration_pb2 as pb
from sriov.kubelet._pb import pluginregistration_pb2_grpc as pb_grpc
from tests.deviceplugin import loops
from tests.fakes import kubelet as fake
from tests.sriov.pools import facts

POOL = facts.pool(facts.device(0), facts.device(1))
ENDPOINT = "intel.com_a.sock"


def on_watcher(
    root: pathlib.Path, body: Callable[[fake.Kubelet, session.Registration], Coroutine[object, object, None]]
) -> None:
    async def whole() -> None:
        here = fake.Kubelet(root, watching=True)
        registrar = registration.Watched(here.plugins)
        timings = session.Timings(look=0.1, backoff=0.1)
        registered = session.Registration(POOL, registrar, device_files.Handout(facts.NOWHERE), _nothing, timings)
        await here.start()
        try:
            async with loops.running(registered.run()):
                await here.wait_for(POOL.resource, 2)
                await body(here, registered)
            assert os.listdir(here.plugins) == []
        finally:
            await here.stop()

    loops.run(whole(), timeout=40)


def _nothing() -> None:
    """Nobody waits for refusals here."""


def test_d42_d43_d45_the_kubelet_finds_one_live_socket(tmp_path: pathlib.Path) -> None:
    """The hidden name is renamed, so nothing else was ever there for it to dial."""

    async def body(here: fake.Kubelet, registered: session.Registration) -> None:
        assert here.registrations == [POOL.resource]
        assert os.listdir(here.plugins) == [ENDPOINT]
        assert stat.S_IMODE((here.plugins / ENDPOINT).stat().st_mode) == 0o600
        await loops.until(lambda: registered.known)
        envs = await here.request(POOL.resource, [POOL.devices[0].id])
        assert envs["PCIDEVICE_INTEL_COM_A"] == POOL.devices[0].id

    on_watcher(tmp_path, body)


def test_d44_what_we_say_of_ourselves(tmp_path: pathlib.Path) -> None:
    """No endpoint: this very socket, wherever the kubelet has it. And no version that it does not have."""

    async def body(here: fake.Kubelet, _: session.Registration) -> None:
        async with grpc.aio.insecure_channel(f"unix:{here.plugins / ENDPOINT}") as channel:
            info = await pb_grpc.RegistrationStub(channel).GetInfo(pb.InfoRequest(), timeout=1)
        assert info == pb.PluginInfo(type="DevicePlugin", name=POOL.resource, supported_versions=["v1beta1"])

    on_watcher(tmp_path, body)


def test_d42_a_kubelet_that_restarts_dials_the_same_socket_again(tmp_path: pathlib.Path) -> None:
    async def body(here: fake.Kubelet, _: session.Registration) -> None:
        before = (here.plugins / ENDPOINT).stat().st_ino
        await here.restart()
        await here.wait_for(POOL.resource, 2)
        assert (here.plugins / ENDPOINT).stat().st_ino == before

    on_watcher(tmp_path, body)


async def _unlink(here: fake.Kubelet) -> None:
    (here.plugins / ENDPOINT).unlink()


async def _break_the_stream(here: fake.Kubelet) -> None:
    await here.break_stream(POOL.resource)


@pytest.mark.parametrize("harm", [_unlink, _break_the_stream])
def test_d46_a_lost_registration_is_made_anew_by_a_new_socket(
    tmp_path: pathlib.Path, harm: Callable[[fake.Kubelet], Coroutine[object, object, None]]
) -> None:
    async def body(here: fake.Kubelet, registered: session.Registration) -> None:
        before = len(here.registrations)
        await harm(here)
        await here.wait_until(lambda: len(here.registrations) > before)
        await here.wait_for(POOL.resource, 2)
        await loops.until(lambda: registered.servicer.streams == 1)

    on_watcher(tmp_path, body)


def test_d46_a_refusal_is_told_and_tried_again(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(here: fake.Kubelet, registered: session.Registration) -> None:
        here.refusals = 2
        (here.plugins / ENDPOINT).unlink()
        await loops.until(lambda: here.refusals == 0)
        await here.wait_until(lambda: len(here.registrations) == 2)
        await loops.until(lambda: registered.known)

    on_watcher(tmp_path, body)
    assert "cannot register, retrying: the kubelet refuses: refused, as told" in caplog.text


def test_without_its_folder_it_waits_for_one(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        registrar = registration.Watched(tmp_path / "plugins_registry")
        timings = session.Timings(look=0.05, backoff=0.05, backoff_max=0.1)
        registered = session.Registration(POOL, registrar, device_files.Handout(facts.NOWHERE), _nothing, timings)
        async with loops.running(registered.run()):
            await asyncio.sleep(0.2)
            here = fake.Kubelet(tmp_path, watching=True)
            await here.start()
            await here.wait_for(POOL.resource, 2)
            await here.stop()

    loops.run(body())
