"""The generated code is what proto/ says, and proto/ is what the kubelet speaks."""

import pathlib
import subprocess

import pytest

from sriov.kubelet._pb import deviceplugin_pb2, pluginregistration_pb2, podresources_pb2

ROOT = pathlib.Path(__file__).parents[3]


def test_the_generated_code_is_fresh() -> None:
    done = subprocess.run([ROOT / "hack/gen-proto", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "service", "methods"),
    [
        (deviceplugin_pb2, "v1beta1.Registration", ["Register"]),
        (
            deviceplugin_pb2,
            "v1beta1.DevicePlugin",
            ["GetDevicePluginOptions", "ListAndWatch", "GetPreferredAllocation", "Allocate", "PreStartContainer"],
        ),
        (pluginregistration_pb2, "pluginregistration.Registration", ["GetInfo", "NotifyRegistrationStatus"]),
        (podresources_pb2, "v1.PodResourcesLister", ["List", "GetAllocatableResources", "Get"]),
    ],
)
def test_services_have_the_kubelets_names(module: object, service: str, methods: list[str]) -> None:
    services = module.DESCRIPTOR.services_by_name  # type: ignore[attr-defined]
    found = services[service.rpartition(".")[2]]
    assert found.full_name == service
    assert sorted(method.name for method in found.methods) == sorted(methods)


def test_numbers_on_the_wire() -> None:
    """Bytes worked out by hand: field number << 3 | wire type, length, value. NUMA node 0 is an empty message (D30)."""
    pb = deviceplugin_pb2
    register = pb.RegisterRequest(version="v", endpoint="e", resource_name="r", options=pb.DevicePluginOptions())
    assert register.SerializeToString() == b"\x0a\x01v\x12\x01e\x1a\x01r\x22\x00"
    device = pb.Device(ID="i", health="h", topology=pb.TopologyInfo(nodes=[pb.NUMANode(ID=0)]))
    assert device.SerializeToString() == b"\x0a\x01i\x12\x01h\x1a\x02\x0a\x00"
    answer = pb.ContainerAllocateResponse(envs={"k": "v"}, cdi_devices=[pb.CDIDevice(name="c")])
    assert answer.SerializeToString() == b"\x0a\x06\x0a\x01k\x12\x01v\x2a\x03\x0a\x01c"
    request = pb.AllocateRequest(container_requests=[pb.ContainerAllocateRequest(devices_ids=["d"])])
    assert request.SerializeToString() == b"\x0a\x03\x0a\x01d"
