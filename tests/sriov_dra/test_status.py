"""Status of claims, as the driver's process writes it beside a stand-in API server."""

import asyncio
import pathlib
from typing import Any

import pytest

from tests.deviceplugin import loops
from tests.sriov_agent.cluster import Json
from tests.sriov_dra import status_rules
from tests.sriov_dra.claims import claims
from tests.sriov_dra.processes import NAMES, VFS, Node, on_node


def told(status: Json) -> dict[str, tuple[str, str]]:
    """Of each device whether it is ready, and why."""
    return {
        each["device"]: (each["conditions"][0]["status"], each["conditions"][0]["reason"])
        for each in status.get("devices", [])
    }


def status(node: Node, name: str = "rails") -> Json:
    return dict(node.api.objects["ResourceClaim", "ml", name]["status"])


READY, HOME = ("True", "Attached"), ("False", "Detached")


def test_one_write_at_attach_and_one_at_detach_and_none_on_the_way(folder: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        wanted = await node.claim(claims.result(NAMES[0], "a"), claims.result(NAMES[1], "b"))
        await node.kubelet.prepare("pod-uid", wanted)
        node.hold(VFS[0])
        assert node.api.statuses == [], "preparing writes none, nor does an ADD that goes on"
        node.attach(VFS[0], "192.0.2.7/24", "2001:db8::7/64")
        await asyncio.sleep(0.7)  # as long as an ADD of a further VF may take
        node.attach(VFS[1])
        await loops.until(lambda: told(status(node)) == {NAMES[0]: READY, NAMES[1]: READY}, 30)
        [network, _] = [each["networkData"] for each in node.api.statuses[-1]["devices"]]
        assert network == {
            "interfaceName": "net1",
            "ips": ["192.0.2.7/24", "2001:db8::7/64"],
            "hardwareAddress": "02:00:00:00:00:01",
        }
        attached = len(node.api.statuses)
        for vf in VFS[:2]:
            node.book.remove(vf)
            await asyncio.sleep(0.7)
        assert await node.kubelet.unprepare(*wanted, "claim-uid") == "", "it waits for no write"
        await loops.until(lambda: told(status(node)) == {NAMES[0]: HOME, NAMES[1]: HOME}, 30)
        assert (attached, len(node.api.statuses)) == (1, 2)
        assert list(node.api.owners["claim-uid"]) == ["sriov-underlay"]

    on_node(folder, body)


def test_a_device_that_never_comes_keeps_the_others_from_no_status(folder: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        wanted = await node.claim(claims.result(NAMES[0], "a"), claims.result(NAMES[1], "b"))
        await node.kubelet.prepare("pod-uid", wanted)
        node.attach(VFS[0])
        await loops.until(lambda: told(status(node)) == {NAMES[0]: READY}, 60)

    on_node(folder, body)


def test_a_server_that_is_away_keeps_nobody_waiting_and_is_told_when_it_is_back(folder: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        wanted = await node.claim()
        await node.kubelet.prepare("pod-uid", wanted)
        node.api.answers = [503] * 3
        node.attach(VFS[0])
        await loops.until(lambda: "its status cannot be written, and is later" in node.log, 30)
        await loops.until(lambda: told(status(node)) == {NAMES[0]: READY}, 60)
        node.api.hangs = True
        node.book.remove(VFS[0])
        assert await node.kubelet.unprepare(*wanted, "claim-uid") == ""
        node.api.hangs = False
        await loops.until(lambda: told(status(node)) == {NAMES[0]: HOME}, 60)

    on_node(folder, body)


def test_a_driver_that_starts_again_writes_what_has_changed_meanwhile_and_nothing_else(tmp_path: pathlib.Path) -> None:
    async def whole() -> None:
        node = Node(tmp_path)
        await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
        async with node.api.serving() as port, node.kubelet.running():
            async with node.driver(port):
                await node.kubelet.until_registered()
                for number in (0, 1):
                    wanted = await node.claim(
                        claims.result(NAMES[number]), name=f"c{number}", uid=f"u{number}", pod=f"p{number}"
                    )
                    await node.kubelet.prepare(f"p{number}", wanted)
                    node.attach(VFS[number], claim=f"u{number}")
                await loops.until(lambda: len(node.api.statuses) == 2, 30)
                node.kubelet._stub = None
            node.book.remove(VFS[0])
            async with node.driver(port):
                await loops.until(lambda: told(status(node, "c0")) == {NAMES[0]: HOME}, 30)
                await loops.until(lambda: ("get", "c1") in asked(node), 30)
                assert len(node.api.statuses) == 3
                await node.kubelet.stop()
        assert node.api.refused == []

    loops.run(whole(), 90)


def asked(node: Node) -> list[tuple[str, str]]:
    return [(verb.lower(), path.rpartition("/")[2]) for path, verb, _ in node.api.asked]


def test_a_claim_that_was_made_again_is_not_told_of_the_old_ones_vf(folder: pathlib.Path) -> None:
    async def whole(node: Node) -> None:
        wanted = await node.claim()
        await node.kubelet.prepare("pod-uid", wanted)
        await node.claim(uid="another")
        node.attach(VFS[0])
        await loops.until(lambda: "claim ml/rails has no status any more" in node.log, 30)
        assert node.api.statuses == []
        assert node.api.refused == ["422 metadata.uid: field is immutable"]
        node.api.refused.clear()

    on_node(folder, whole)


def test_what_another_manager_has_in_the_entry_stays(folder: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        wanted = await node.claim()
        entry = {"driver": claims.DRIVER, "pool": claims.POOL, "device": NAMES[0], "data": {"x": 1}}
        made = node.api.objects["ResourceClaim", "ml", "rails"]
        owners: status_rules.Owners = {}
        made["status"] = status_rules.applied(made["status"], {"devices": [entry]}, "multus", owners, force=False)
        node.api.owners["claim-uid"] = owners
        await node.kubelet.prepare("pod-uid", wanted)
        node.attach(VFS[0])
        await loops.until(lambda: bool(node.api.statuses), 30)
        node.book.remove(VFS[0])
        await loops.until(lambda: len(node.api.statuses) == 2, 30)
        [state] = status(node)["devices"]
        assert (state["data"], "networkData" in state) == ({"x": 1}, False)
        await asyncio.sleep(0)

    on_node(folder, body)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"device": "other"}, "must be an allocated device in the claim"),
        ({"shareID": "s"}, "must be an allocated device in the claim"),
        ({"conditions": [{"type": f"C{number}"} for number in range(9)]}, "conditions: too many"),
        ({"conditions": [{"type": "Ready", "status": "True", "reason": "x y"}]}, "conditions: reason"),
        ({"data": {"x": "y" * 10240}}, "data: too long"),
        ({"networkData": {"ips": ["192.0.2.1"]}}, "networkData.ips: '192.0.2.1'"),
        ({"networkData": {"ips": ["2001:DB8::1/64"]}}, "networkData.ips: '2001:DB8::1/64'"),
        ({"networkData": {"ips": [f"192.0.2.{number}/24" for number in range(17)]}}, "networkData.ips: too many"),
        ({"taints": []}, "taints: field not declared in schema"),
    ],
)
def test_the_stand_in_refuses_what_the_api_server_does(change: Json, problem: str) -> None:
    old = claims.claim(claims.result())["status"]
    entry: dict[str, Any] = {"driver": claims.DRIVER, "pool": claims.POOL, "device": NAMES[0]}
    assert status_rules.refusals({**old, "devices": [entry]}, old, claims.DRIVER) == []
    found = status_rules.refusals({**old, "devices": [entry | change]}, old, claims.DRIVER)
    assert [each for each in found if problem in each] != []


def test_the_stand_in_has_owners_of_fields() -> None:
    owners: status_rules.Owners = {}
    key = {"driver": "d", "pool": "p", "device": "v"}
    first = status_rules.applied({}, {"devices": [{**key, "data": {"x": 1}}]}, "one", owners, force=False)
    with pytest.raises(status_rules.ConflictError, match='conflict with "one"'):
        status_rules.applied(first, {"devices": [{**key, "data": {"x": 2}}]}, "two", owners, force=False)
    second = status_rules.applied(first, {"devices": [{**key, "data": {"x": 2}}]}, "two", owners, force=True)
    assert second == {"devices": [{**key, "data": {"x": 2}}]}
    assert status_rules.applied(second, {"devices": []}, "one", owners, force=True) == second, "it has the rest no more"
    assert status_rules.applied(second, {"devices": []}, "two", owners, force=True) == {}
