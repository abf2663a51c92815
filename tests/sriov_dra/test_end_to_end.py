"""From the slice to the pod and home again: API server, kubelet, driver, and the CNI's shim and daemon on one node."""

import asyncio
import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from sriov_cni.context import claims as pod_claims
from tests.deviceplugin import loops
from tests.fakes import bench, pod_resources
from tests.sriov_cni import harness
from tests.sriov_cni.shim import shims
from tests.sriov_dra.claims import claims
from tests.sriov_dra.processes import Node

POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME=train-0;K8S_POD_UID=pod-uid"
OTHER = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME=other;K8S_POD_UID=other-uid"


def test_a_pod_gets_the_vf_of_its_claim_as_multus_calls_and_nobody_else_does(tmp_path: pathlib.Path) -> None:
    """Multus reads the claim's device in its slice, by k8s.cni.cncf.io/deviceID, and passes it to the network."""
    machine = bench.make(tmp_path)
    node = Node(tmp_path, sys=machine.machine.node)

    async def whole() -> None:
        await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
        async with node.api.serving() as port, node.kubelet.running(), node.driver(port):
            await node.kubelet.until_registered()
            await loops.until(lambda: len(node.published()) == len(machine.vfs), 15)
            [published] = [each for each in node.api.slices[0]["spec"]["devices"] if each["name"] == "0000-01-10-0"]
            device = published["attributes"]["k8s.cni.cncf.io/deviceID"]["string"]
            wanted = await node.claim(configs=[claims.config(claims.parameters(vlan=5))])
            await node.kubelet.prepare("pod-uid", wanted)
            call = harness.configuration(device)
            refused = await asyncio.to_thread(client.call, "ADD", call, ARGS=OTHER)
            assert (refused.code, "is granted to claim ml/rails" in refused.message) == (11, True)
            added = await asyncio.to_thread(client.call, "ADD", call, ARGS=POD)
            assert added.code == 0, added
            assert machine.vf_state().vlan == 5
            await loops.until(lambda: bool(node.api.statuses), 30)
            [state] = node.api.statuses[0]["devices"]
            assert state["networkData"] == {
                "interfaceName": "net1",
                "hardwareAddress": added.document["interfaces"][0]["mac"],
            }
            assert "is not home yet" in await node.kubelet.unprepare(*wanted, "claim-uid")
            assert (await asyncio.to_thread(client.call, "DEL", call, ARGS=POD)).code == 0
            await loops.until(lambda: len(node.api.statuses) == 2, 30)
            assert node.api.statuses[1]["devices"][0]["conditions"][0]["reason"] == "Detached"
            assert await node.kubelet.unprepare(*wanted, "claim-uid") == ""
            assert (await asyncio.to_thread(client.call, "ADD", call, ARGS=OTHER)).code == 0, "it is free again"
            assert (await asyncio.to_thread(client.call, "DEL", call, ARGS=OTHER)).code == 0
        assert node.api.refused == []

    with _runtime(tmp_path, machine) as client:
        loops.run(whole(), 60)


def test_a_pod_gets_the_vf_of_its_claim_without_multus_and_one_that_shares_the_claim_does_not(
    tmp_path: pathlib.Path,
) -> None:
    machine = bench.make(tmp_path)
    node = Node(tmp_path, sys=machine.machine.node)
    before = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "x"}]}
    network = {"cniVersion": "1.1.0", "name": "n1", "type": "sriov", "claims": "chained", "prevResult": before}

    async def whole() -> None:
        await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
        async with node.api.serving() as port, node.kubelet.running(), node.driver(port):
            await node.kubelet.until_registered()
            await loops.until(lambda: len(node.published()) == len(machine.vfs), 15)
            wanted = await node.claim(configs=[claims.config(claims.parameters(vlan=5, interface="rail0"))])
            await node.kubelet.prepare("pod-uid", wanted)
            refused = await asyncio.to_thread(client.call, "ADD", network, ARGS=OTHER, IFNAME="eth0")
            assert (refused.code, "pod ml/other shares claim ml/rails with pod" in refused.message) == (11, True), (
                refused
            )
            added = await asyncio.to_thread(client.call, "ADD", network, ARGS=POD, IFNAME="eth0")
            assert [each["name"] for each in added.document["interfaces"]] == ["eth0", "rail0"]
            assert machine.vf_state().vlan == 5
            assert "is not home yet" in await node.kubelet.unprepare(*wanted, "claim-uid")
            assert (await asyncio.to_thread(client.call, "DEL", network, ARGS=POD, IFNAME="eth0")).code == 0
            assert await node.kubelet.unprepare(*wanted, "claim-uid") == ""
            passed = await asyncio.to_thread(client.call, "ADD", network, ARGS=OTHER, IFNAME="eth0")
            assert passed.document == before

    kubelet = pod_resources.PodResources({}, claims={("ml", "other"): ["rails"]})
    with pod_resources.serving(tmp_path / "pods.sock", kubelet), _runtime(tmp_path, machine) as client:
        loops.run(whole(), 60)


@contextlib.contextmanager
def _runtime(tmp_path: pathlib.Path, machine: bench.Bench) -> Iterator[harness.Client]:
    """The CNI on the machine, which ends with it."""
    socket = tmp_path / "cni.sock"
    client = harness.Client(socket, "", machine.machine.path("pod"), shims.command(shims.BOTH[0]))
    further: dict[str, Any] = {
        "claims": pod_claims.PodClaims(tmp_path / "run"),
        "pod_resources": tmp_path / "pods.sock",
    }
    with harness.daemon(machine.node, machine.book, socket, machine.machine.adopt, **further):
        yield client
    machine.pod.close()
    machine.machine.close()
