"""The stand-in kubelet itself: it is as unforgiving as the real one."""

import asyncio
import json
import os
import pathlib
import socket
import subprocess
import sys

import grpc
import pytest

from sriov.kubelet._pb import deviceplugin_pb2 as pb
from sriov.kubelet._pb import deviceplugin_pb2_grpc as pb_grpc
from tests.deviceplugin import loops, test_session
from tests.fakes import kubelet as fake
from tests.sriov.pools import facts

ROOT = pathlib.Path(__file__).parents[3]
RESOURCE = test_session.RESOURCE


async def register(kubelet: fake.Kubelet, version: str, name: str) -> None:
    async with grpc.aio.insecure_channel(f"unix:{kubelet.socket}") as channel:
        request = pb.RegisterRequest(version=version, endpoint="nobody.sock", resource_name=name)
        await pb_grpc.RegistrationStub(channel).Register(request)


@pytest.mark.parametrize(
    ("version", "name", "complaint"),
    [
        ("v1alpha1", "intel.com/a", "v1alpha1 is not supported"),
        ("v1beta1", "a", "the ResourceName 'a' is invalid"),
        ("v1beta1", "x.kubernetes.io/a", "is invalid"),
        ("v1beta1", "intel.com/a_", "is invalid"),
        ("v1beta1", "intel.com/a", "DEADLINE_EXCEEDED|Deadline Exceeded"),
    ],
)
def test_d1_d2_d5_it_refuses(tmp_path: pathlib.Path, version: str, name: str, complaint: str) -> None:
    """Versions, then names, then whoever does not serve yet."""

    async def body() -> None:
        kubelet = fake.Kubelet(tmp_path, patience=0.3)
        await kubelet.start()
        with pytest.raises(grpc.aio.AioRpcError, match=complaint):
            await register(kubelet, version, name)
        assert kubelet.registrations == []
        await kubelet.stop()

    loops.run(body())


def test_d11_it_removes_sockets_and_nothing_else(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        kubelet = fake.Kubelet(tmp_path)
        (kubelet.folder / "folder").mkdir(parents=True)
        (kubelet.folder / "kubelet_internal_checkpoint").touch()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(kubelet.folder / "intel.com_a.sock"))
        await kubelet.start()
        assert sorted(os.listdir(kubelet.folder)) == ["folder", "kubelet.sock", "kubelet_internal_checkpoint"]
        await kubelet.stop()

    loops.run(body())


def test_d24_a_broken_stream_makes_every_device_unhealthy_and_is_not_opened_again(tmp_path: pathlib.Path) -> None:
    async def body(bench: test_session.Bench) -> None:
        async with bench.registered(backoff=60, backoff_max=60):
            await bench.kubelet.break_stream(RESOURCE)
            devices = await bench.kubelet.wait_for(RESOURCE, 0)
            assert [device.healthy for device in devices.values()] == [False, False]
            await asyncio.sleep(0.3)
            assert bench.kubelet.streams == 0

    test_session.on_bench(tmp_path, body)


def test_d18_pods_keep_their_devices_and_no_two_share_one(tmp_path: pathlib.Path) -> None:
    async def body(bench: test_session.Bench) -> None:
        async with bench.registered():
            envs = await bench.kubelet.allocate("p1", RESOURCE, 1)
            assert envs["PCIDEVICE_INTEL_COM_A"] == facts.device(0).id
            await bench.kubelet.restart()
            await bench.kubelet.wait_for(RESOURCE, 2)
            with pytest.raises(LookupError, match="1 free devices, p2 wants 2"):
                await bench.kubelet.allocate("p2", RESOURCE, 2)
            bench.kubelet.free("p1")
            await bench.kubelet.allocate("p2", RESOURCE, 2)
            assert bench.kubelet.pods == {"p2": {RESOURCE: [facts.device(0).id, facts.device(1).id]}}

    test_session.on_bench(tmp_path, body)


def test_it_runs_alone(tmp_path: pathlib.Path) -> None:
    """As a process, asked over its control socket."""
    control = tmp_path / "control.sock"
    command = [sys.executable, "-m", "tests.fakes.kubelet", "--dir", str(tmp_path), "--control", str(control)]

    async def body(process: subprocess.Popen[bytes]) -> None:
        await loops.until(lambda: control.exists() or process.poll() is not None)
        reader, writer = await asyncio.open_unix_connection(control)

        async def ask(**request: object) -> object:
            writer.write(json.dumps(request).encode() + b"\n")
            return json.loads(await reader.readline())

        bench = test_session.Bench(tmp_path)
        async with loops.running(bench.registration().run()):
            listed = [facts.device(0).id, facts.device(1).id]
            assert await ask(do="wait", resource=RESOURCE, devices=2, timeout=5) == {"result": listed}
            answer = await ask(do="allocate", pod="p1", resource=RESOURCE, count=2)
            assert isinstance(answer, dict)
            assert answer["result"]["envs"]["PCIDEVICE_INTEL_COM_A"] == ",".join(listed)
            answer = await ask(do="allocate", pod="p2", resource=RESOURCE)
            assert answer == {"error": "LookupError: intel.com/a has 0 free devices, p2 wants 1"}
            assert await ask(do="free", pod="p1") == {"result": None}
            assert await ask(do="resources") == {
                "result": {RESOURCE: [{"id": one, "healthy": True, "numa_node": None} for one in listed]}
            }
            assert await ask(do="restart") == {"result": None}
            assert await ask(do="wait", resource=RESOURCE, devices=2) == {"result": listed}
        assert await ask(do="wait", resource=RESOURCE, devices=9, timeout=0.1) == {"error": "TimeoutError: "}
        writer.close()
        await writer.wait_closed()

    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            loops.run(body(process))
        finally:
            process.terminate()
        assert process.wait(5) == 0
