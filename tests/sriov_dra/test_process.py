"""The driver as the node runs it: published, registered, prepared, unprepared."""

import json
import pathlib

import pytest

from tests.sriov_dra import kubelet
from tests.sriov_dra.claims import claims
from tests.sriov_dra.processes import NAMES, VFS, Node, on_node


@pytest.mark.parametrize("versions", [kubelet.NEW, kubelet.OLD])
def test_a_claim_from_its_allocation_to_its_end(tmp_path: pathlib.Path, versions: tuple[str, ...]) -> None:
    async def body(node: Node) -> None:
        assert node.published() == NAMES
        assert {each["spec"]["pool"]["name"] for each in node.api.slices} == {claims.POOL}
        assert list(node.kubelet.registered) == ["sriov-underlay"]
        wanted = await node.claim(configs=[claims.config(claims.parameters(vlan=5, interface="net1"))])
        names = await node.kubelet.prepare("pod-uid", wanted)
        assert names == {"vf": ["sriov-underlay/claim=claim-uid-vf"]}
        assert node.specs()["sriov-underlay/claim=claim-uid-vf"]["env"][0] == "PCIDEVICE_INTEL_COM_RAIL_A=0000:01:10.0"
        [grant] = node.grants.all()
        assert (grant.uid, [pod.uid for pod in grant.pods], grant.devices[0].id) == ("claim-uid", ["pod-uid"], VFS[0])
        assert (grant.devices[0].interface, grant.devices[0].network["vlan"]) == ("net1", 5)
        [mount] = node.specs()["sriov-underlay/claim=claim-uid-vf"]["mounts"]
        assert json.loads(pathlib.Path(mount["hostPath"]).read_text().splitlines()[0])["kind"] == "DeviceMetadata"
        node.hold(VFS[0])
        assert "0000:01:10.0 of claim ml/rails is not home yet" in await node.kubelet.unprepare(*wanted, "claim-uid")
        assert node.grants.all() == [grant]
        node.book.remove(VFS[0])
        await node.api.delete(node.api.objects["ResourceClaim", *wanted])
        assert await node.kubelet.unprepare(*wanted, "claim-uid") == ""
        assert (node.grants.all(), node.specs(), pathlib.Path(mount["hostPath"]).exists()) == ([], {}, False)
        assert await node.kubelet.unprepare(*wanted, "claim-uid") == "", "an unknown claim is unprepared"
        assert len([path for path, what, _ in node.api.asked if what == "GET" and "resourceclaims" in path]) == 1

    on_node(tmp_path, body, versions=versions)
