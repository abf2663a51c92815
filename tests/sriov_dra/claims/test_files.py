"""Files of a prepared claim: the CDI spec, and the metadata that its containers read."""

import json
import pathlib
from typing import Any

import pytest

from deviceplugin import allocation
from sriov.hardware import node_devices
from sriov.hardware.drivers import infiniband
from sriov.pools import assignment, resources, selectors
from sriov_dra.claims import edits, metadata
from tests.sriov.pools import facts
from tests.sriov_dra.claims import claims

RDMA = selectors.Selector(is_rdma=True)


def pool(name: str, *found: node_devices.Candidate) -> assignment.Pool:
    resource = resources.Resource("intel.com", name, (RDMA,))
    return assignment.Pool(resource, tuple(assignment.Device(one.id, one, RDMA) for one in found))


def vf(index: int) -> node_devices.Candidate:
    return facts.vf(index, rdma=infiniband.Rdma((f"mlx5_{index}",), (f"uverbs{index}",)))


def prepared(dealt: assignment.Pool, number: int, request: str = "vf") -> edits.PreparedDevice:
    device = dealt.devices[number]
    return edits.PreparedDevice(request.partition("/")[0], request, "p", f"d{number}", device, dealt)


def devices(*given: edits.PreparedDevice, mounts: Any = None) -> dict[str, Any]:
    """The CDI devices by name."""
    requests = {each.request for each in given}
    told = json.loads(edits.spec(claims.DRIVER, "u1", given, mounts or dict.fromkeys(requests, ())))
    assert (told["cdiVersion"], told["kind"]) == ("0.5.0", "sriov-underlay/claim")
    return {each["name"]: each["containerEdits"] for each in told["devices"]}


def test_a_container_gets_what_the_device_plugin_gives() -> None:
    """dra-driver-sriov has variables of its own."""
    dealt = pool("rail_a", vf(0), vf(1))
    before = allocation.answer(dealt, [each.id for each in dealt.devices])
    [given] = devices(prepared(dealt, 0), prepared(dealt, 1)).values()
    assert given["env"] == [f"{name}={value}" for name, value in before.envs.items()]
    assert given["env"][0] == "PCIDEVICE_INTEL_COM_RAIL_A=0000:01:10.0,0000:01:10.1"
    assert [(each["path"], each["hostPath"]) for each in given["deviceNodes"]] == [
        (each.container, each.host) for each in before.nodes
    ]


def test_each_request_is_a_cdi_device_and_two_of_one_resource_are_joined_in_the_variables() -> None:
    """A container that uses both would see the variable of one only."""
    rail, other = pool("rail_a", vf(0), vf(1)), pool("b", vf(2))
    given = devices(prepared(rail, 0, "first"), prepared(rail, 1, "second/fast"), prepared(other, 0, "third"))
    assert list(given) == ["u1-first", "u1-second", "u1-third"]
    assert given["u1-first"]["env"] == given["u1-second"]["env"]
    assert given["u1-first"]["env"][0] == "PCIDEVICE_INTEL_COM_RAIL_A=0000:01:10.0,0000:01:10.1"
    assert [each["path"] for each in given["u1-first"]["deviceNodes"]] == ["/dev/infiniband/uverbs0"]
    assert given["u1-third"]["env"][0] == "PCIDEVICE_INTEL_COM_B=0000:01:10.2"


def test_the_names_are_those_of_the_kubelets_answer_and_of_the_file() -> None:
    assert edits.qualified_name(claims.DRIVER, "u1", "vf") == "sriov-underlay/claim=u1-vf"
    assert edits.uid_of(claims.DRIVER, edits.file_name(claims.DRIVER, "u1")) == "u1"
    assert edits.uid_of(claims.DRIVER, "sriov-dp-intel.com-net-pci-a.json") is None


@pytest.mark.parametrize(
    ("annotations", "inside"),
    [
        ({}, "resourceclaims/rails"),
        ({"resource.kubernetes.io/pod-claim-name": "gpu-and-vf"}, "resourceclaimtemplates/gpu-and-vf"),
        ({"resource.kubernetes.io/pod-claim-name": "../../../etc"}, "resourceclaims/rails"),
    ],
)
def test_the_metadata_file_is_where_kep_5304_has_it(annotations: dict[str, str], inside: str) -> None:
    claim = claims.decoded(claims.claim(annotations=annotations)).metadata
    folder = metadata.folder(pathlib.Path("/var/lib/kubelet/plugins/sriov-underlay"), "u1")
    mount = metadata.mount(claims.DRIVER, claim, "vf", folder / "vf.json")
    assert mount == edits.Mount(
        "/var/lib/kubelet/plugins/sriov-underlay/dra-device-metadata/u1/vf.json",
        f"/var/run/kubernetes.io/dra-device-attributes/{inside}/vf/sriov-underlay-metadata.json",
    )
    dealt = pool("rail_a", vf(0))
    [given] = devices(prepared(dealt, 0), mounts={"vf": [mount]}).values()
    assert given["mounts"] == [{"hostPath": mount.host, "containerPath": mount.container, "options": ["ro", "bind"]}]


def test_the_metadata_has_the_attributes_in_each_version_the_newest_first() -> None:
    """KubeVirt reads pciBusID there."""
    claim = claims.decoded(claims.claim(annotations={"resource.kubernetes.io/pod-claim-name": "mine"})).metadata
    dealt = pool("rail_a", vf(0))
    stream = metadata.content(claims.DRIVER, claim, [prepared(dealt, 0, "vf/fast")]).decode().splitlines()
    newest, oldest = (json.loads(each) for each in stream)
    assert (newest.pop("apiVersion"), oldest.pop("apiVersion")) == (
        "metadata.resource.k8s.io/v1beta1",
        "metadata.resource.k8s.io/v1alpha1",
    )
    assert newest == oldest
    assert newest["metadata"] == {"name": "rails", "namespace": "ml", "uid": "claim-uid", "generation": 1}
    assert (newest["kind"], newest["podClaimName"], newest["requests"][0]["name"]) == (
        "DeviceMetadata",
        "mine",
        "vf/fast",
    )
    [device] = newest["requests"][0]["devices"]
    assert device["attributes"]["resource.kubernetes.io/pciBusID"] == {"string": "0000:01:10.0"}
