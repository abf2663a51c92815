"""Without Multus: the kubelet says which VFs a pod holds, and each interface gets one of its own."""

import asyncio
import contextlib
import json
import pathlib
from collections.abc import Iterator

import pytest

from sriov import errors
from sriov.kubelet import podresources
from sriov_cni.commands import dispatch
from sriov_cni.context import calls
from sriov_cni.shim import wire
from sriov_cni.spec import cni_errors, environment, netconf
from tests.fakes import bench, pod_resources

RESOURCE, OTHER = "intel.com/rail_a", "intel.com/rail_b"
POD = ("default", "web")


class Case:
    """A node in memory whose kubelet is `api`; calls are made for container c1 of pod default/web."""

    def __init__(self, folder: pathlib.Path, api: pod_resources.PodResources) -> None:
        self.here = bench.make(folder)
        self.api = api
        self.daemon = calls.Daemon(self.here.node, self.here.book, pod_resources=folder / "kubelet.sock")

    def call(
        self,
        command: environment.Command,
        ifname: str,
        resource: str = RESOURCE,
        pod: str = POD[1],
        container: str = "c1",
    ) -> str:
        """The VF that the result names, empty for a DEL."""
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={POD[0]};K8S_POD_NAME={pod}"
        network = {"cniVersion": "1.1.0", "name": "n1", "type": "sriov", "resourceName": resource}
        invocation = environment.Invocation(command, container, "/run/netns/pod", ifname, environment.arguments(args))
        made = calls.Call(invocation, netconf.decode(json.dumps(network).encode()), self.here.pod, _no_ipam)
        answer = asyncio.run(dispatch.run(self.daemon, made))
        return str(json.loads(answer)["interfaces"][0]["pciID"]) if answer else ""


async def _no_ipam(command: str, plugin: str) -> wire.Outcome:
    raise AssertionError((command, plugin))


@pytest.fixture
def case(tmp_path: pathlib.Path) -> Iterator[Case]:
    """The pod's first container holds two VFs of one resource in two entries, its second one more, and another's."""
    vfs = [f"0000:01:10.{function}" for function in (0, 2, 4, 6)]
    containers = [[(RESOURCE, [vfs[2]]), (OTHER, [vfs[3]]), (RESOURCE, [vfs[0]])], [(RESOURCE, [vfs[1]])]]
    api = pod_resources.PodResources({("kube-system", "web"): [[(RESOURCE, ["0000:01:11.4"])]], POD: containers})
    with pod_resources.serving(tmp_path / "kubelet.sock", api):
        yield Case(tmp_path, api)


def test_each_interface_gets_one_device_in_a_stable_order(case: Case) -> None:
    assert case.call(environment.Command.ADD, "eth0") == "0000:01:10.0"
    assert case.call(environment.Command.ADD, "net1", OTHER) == "0000:01:10.6"
    assert case.call(environment.Command.ADD, "net2") == "0000:01:10.4"
    assert case.call(environment.Command.ADD, "net3") == "0000:01:10.2"
    with pytest.raises(Exception, match=r"all 3 devices of intel\.com/rail_a of pod default/web are attached already"):
        case.call(environment.Command.ADD, "net4")


def test_a_del_finds_its_device_without_the_kubelet(case: Case) -> None:
    before = case.here.machine.snapshot()
    case.call(environment.Command.ADD, "eth0")
    asked = case.api.calls
    assert case.call(environment.Command.DEL, "eth0") == ""
    assert case.api.calls == asked
    assert case.here.machine.snapshot() == before
    assert case.call(environment.Command.ADD, "eth0") == "0000:01:10.0"


def test_a_former_pods_device_is_ended_and_taken(case: Case) -> None:
    """The pod was recreated under its name: the kubelet may give it the same VF before the old sandbox' DEL."""
    case.call(environment.Command.ADD, "eth0")
    case.here.machine.destroy("pod")
    case.here.machine.namespace("pod").close()
    assert case.call(environment.Command.ADD, "eth0", container="c2") == "0000:01:10.0"


@pytest.mark.parametrize(
    ("resource", "pod", "says"),
    [
        ("intel.com/none", "web", "gave pod default/web no device of intel.com/none"),
        (RESOURCE, "x", "default/x no device"),
    ],
)
def test_a_pod_without_a_device_is_try_again(case: Case, resource: str, pod: str, says: str) -> None:
    with pytest.raises(Exception, match=says) as caught:
        case.call(environment.Command.ADD, "eth0", resource, pod)
    assert getattr(caught.value, "code", None) == 11


def test_without_a_pods_name_there_is_nothing_to_ask(case: Case) -> None:
    with pytest.raises(Exception, match="CNI_ARGS names no pod"):
        case.call(environment.Command.ADD, "eth0", pod="")


def test_d52_the_kubelets_rate_limit_is_waited_out(case: Case) -> None:
    case.api.refusals = 2
    assert case.call(environment.Command.ADD, "eth0") == "0000:01:10.0"
    assert case.api.calls == 3


def test_a_kubelet_that_is_away_is_busy(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BusyError, match="does not answer: UNAVAILABLE"):
        asyncio.run(podresources.devices_of(tmp_path / "absent.sock", *POD, RESOURCE))


def test_a_device_that_is_no_pci_device_is_refused(tmp_path: pathlib.Path) -> None:
    api = pod_resources.PodResources({POD: [[(RESOURCE, ["mlx5_core.sf.4"])]]})
    with contextlib.ExitStack() as stack:
        stack.enter_context(pod_resources.serving(tmp_path / "k.sock", api))
        with pytest.raises(errors.DeviceError, match=r"mlx5_core\.sf\.4"):
            asyncio.run(podresources.devices_of(tmp_path / "k.sock", *POD, RESOURCE))


def test_a_kubelet_that_is_away_is_told_with_the_flag_that_names_it(tmp_path: pathlib.Path) -> None:
    case = Case(tmp_path, pod_resources.PodResources({}))
    with pytest.raises(cni_errors.CniError, match="does not answer: UNAVAILABLE") as caught:
        case.call(environment.Command.ADD, "eth0")
    assert caught.value.details == "is the kubelet running? --pod-resources-socket says where it listens"
