"""Claims on real VFs: from the slice to the pod's traffic and home again, and a PF that goes down."""

import pathlib
import subprocess

import pytest

from tests.deviceplugin import loops
from tests.kernel import namespaces
from tests.lab import igb, test_reach
from tests.lab.claims import vf_claims
from tests.lab.claims.vf_claims import PATIENCE, GuestNode, name
from tests.sriov_dra import kubelet

VLAN = 7


def test_claims_from_prepare_to_unprepare(tmp_path: pathlib.Path) -> None:
    """A pod with two claims, one of them with a VLAN, and a pod that reaches it there; a claim for two pods."""

    async def body(node: GuestNode) -> None:
        await node.api.put(
            vf_claims.claim("a", 3, "train", vlan=VLAN),
            vf_claims.claim("b", 4, "train"),
            vf_claims.claim("c", 5, "other", vlan=VLAN),
            vf_claims.claim("d", 6, "train", "other"),
        )
        with pytest.raises(kubelet.RefusedError, match="a VF can be in one pod only"):
            await node.kubelet.prepare("train-uid", ("ml", "d"))
        await node.kubelet.prepare("train-uid", ("ml", "a"), ("ml", "b"))
        await node.kubelet.prepare("other-uid", ("ml", "c"))
        with namespaces.made("train") as train, namespaces.made("other") as other:
            refused = await node.cni("ADD", "other", other, 3)
            assert (refused.code, "is granted to claim ml/a" in refused.message) == (11, True)
            pods = (("train", train, 3, "net1"), ("train", train, 4, "net2"), ("other", other, 5, "net1"))
            added = [await node.cni("ADD", *each) for each in pods]
            assert [each.code for each in added] == [0, 0, 0], added
            assert [igb.administered(index).vlan for index in (3, 4, 5)] == [VLAN, 0, VLAN]
            first, *_ = (each.document["ips"][0]["address"].partition("/")[0] for each in added)
            assert test_reach.pings(other, first), "by the claims' VLAN"
            checked = await node.cni("CHECK", *pods[2], prevResult=added[2].document)
            assert checked.code == 0, checked
            assert "is not home yet" in await node.kubelet.unprepare("ml", "a", "u-a")
            assert [(await node.cni("DEL", *each)).code for each in pods] == [0, 0, 0]
        assert [await node.kubelet.unprepare("ml", each, f"u-{each}") for each in "abc"] == ["", "", ""]
        assert (node.grants.all(), node.specs()) == ([], {})
        assert [igb.administered(index).vlan for index in (3, 4, 5)] == [0, 0, 0]
        assert all(igb.TREE.netdev(igb.vf(index).pci) for index in (3, 4, 5))

    vf_claims.on_guest(tmp_path, body)


def test_alone_and_chained_a_pod_has_all_vfs_of_its_claims(tmp_path: pathlib.Path) -> None:
    """By the lists of docs/dra.md. The first interface of both pods is in the claims' VLAN."""

    async def body(node: GuestNode) -> None:
        await node.api.put(
            vf_claims.claim("a", 3, "train", vlan=VLAN),
            vf_claims.claim("b", 4, "train"),
            vf_claims.claim("c", 5, "other", vlan=VLAN),
        )
        with namespaces.made("train") as train, namespaces.made("other") as other, namespaces.made("plain") as plain:
            await node.kubelet.prepare("train-uid", ("ml", "a"), ("ml", "b"))
            await node.kubelet.prepare("other-uid", ("ml", "c"))
            pods = [node.runtime("underlay", "train", train), node.runtime("underlay", "other", other)]
            assert await node.runs("ADD", *pods) == [0, 0], [each.error for each in pods]
            there = pods[0].addresses()
            assert set(there) == {"eth0", "net1"}
            assert test_reach.pings(other, there["eth0"][0])
            assert await node.runs("CHECK", *pods) == [0, 0], [each.error for each in pods]
            assert "is not home yet" in await node.kubelet.unprepare("ml", "b", "u-b")
            assert await node.runs("DEL", *pods) == [0, 0], [each.error for each in pods]
            assert [await node.kubelet.unprepare("ml", each, f"u-{each}") for each in "abc"] == ["", "", ""]
            await node.kubelet.prepare("train-uid", ("ml", "a"), ("ml", "b"))
            await node.kubelet.prepare("other-uid", ("ml", "c"))
            pods = [
                node.runtime("cluster", name, place)
                for name, place in (("train", train), ("other", other), ("plain", plain))
            ]
            assert await node.runs("ADD", *pods) == [0, 0, 0], [each.error for each in pods]
            further = [set(each.addresses()) - {"lo", "eth0"} for each in pods]
            assert further == [{"net1", "net2"}, {"net1"}, set()], "the last has no claim"
            assert test_reach.pings(other, pods[0].addresses()["net1"][0])
            assert await node.runs("CHECK", *pods) == [0, 0, 0], [each.error for each in pods]
            assert await node.runs("DEL", *pods) == [0, 0, 0], [each.error for each in pods]
            assert [await node.kubelet.unprepare("ml", each, f"u-{each}") for each in "abc"] == ["", "", ""]
        assert all(igb.TREE.netdev(igb.vf(index).pci) for index in (3, 4, 5))

    try:
        vf_claims.on_guest(tmp_path, body)
    finally:
        subprocess.run(["ip", "link", "del", "cni0"], check=False)


def test_a_pf_that_goes_down_taints_its_vfs_until_it_is_up(tmp_path: pathlib.Path) -> None:
    netdev = igb.TREE.netdev_name(igb.PF0)
    assert netdev is not None

    def tainted(node: GuestNode) -> int:
        return sum("sriov-underlay/link-down" in each for each in node.published())

    async def body(node: GuestNode) -> None:
        assert tainted(node) == 0
        try:
            subprocess.run(["ip", "link", "set", netdev, "down"], check=True)
            await loops.until(lambda: tainted(node) == 7, PATIENCE)
            told = (vf_claims.POOL, name(3))
            await loops.until(lambda: node.kubelet.health.get(told, (0, ""))[0] == 2, PATIENCE)
        finally:
            subprocess.run(["ip", "link", "set", netdev, "up"], check=True)
        await loops.until(lambda: tainted(node) == 0, PATIENCE)

    vf_claims.on_guest(tmp_path, body)
