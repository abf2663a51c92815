"""Old pods: the kubelet's checkpoint says which devices it may have given, and the kubelet itself to whom."""

import asyncio
import json
import pathlib

import pytest

from sriov import errors
from sriov.kubelet import checkpoint
from sriov_dra.kubelet import old_pods
from tests.fakes import pod_resources

VF, FREE = "0000:01:10.0", "0000:01:10.2"


def given(root: pathlib.Path) -> old_pods.KubeletPods:
    """A kubelet that has given both VFs once."""
    entry = {"PodUID": "u", "ContainerName": "c", "ResourceName": "intel.com/a", "DeviceIDs": {"-1": [VF, FREE]}}
    (root / checkpoint.NAME).write_text(json.dumps({"Data": {"PodDeviceEntries": [entry]}, "Checksum": 1}))
    return old_pods.KubeletPods(root / checkpoint.NAME, root / "s.sock")


def test_a_pod_that_runs_has_its_device_and_one_that_has_ended_has_none(tmp_path: pathlib.Path) -> None:
    """The checkpoint keeps the entry of an ended pod until the kubelet gives something the next time."""
    kubelet = given(tmp_path)
    served = pod_resources.PodResources({("ml", "old-0"): [[("intel.com/a", [VF])]]})
    with pod_resources.serving(tmp_path / "s.sock", served):
        assert asyncio.run(kubelet.holding(frozenset({VF, FREE}))) == {VF: "ml/old-0"}


def test_a_checkpoint_that_cannot_be_read_may_name_any_device(tmp_path: pathlib.Path) -> None:
    kubelet = given(tmp_path)
    (tmp_path / checkpoint.NAME).write_text("{")
    served = pod_resources.PodResources({("ml", "old-0"): [[("intel.com/a", [VF])]]})
    with pod_resources.serving(tmp_path / "s.sock", served):
        assert asyncio.run(kubelet.holding(frozenset({VF, FREE}))) == {VF: "ml/old-0"}


def test_a_device_that_was_never_given_needs_no_answer_of_the_kubelet(tmp_path: pathlib.Path) -> None:
    kubelet = given(tmp_path)
    assert asyncio.run(kubelet.holding(frozenset({"0000:01:10.4"}))) == {}
    (tmp_path / checkpoint.NAME).unlink()
    assert asyncio.run(kubelet.holding(frozenset({VF}))) == {}


def test_a_kubelet_that_does_not_answer_is_a_refusal(tmp_path: pathlib.Path) -> None:
    kubelet = given(tmp_path)
    with pytest.raises(errors.BusyError, match="does not answer"):
        asyncio.run(kubelet.holding(frozenset({VF})))
