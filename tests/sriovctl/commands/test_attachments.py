"""attachments: what is held, in which state; and that release ends only what nobody owns, by the daemon's own hand."""

import re

import msgspec
import pytest

from sriov import devices
from sriov.linux import nsid
from sriov.state import claim_attachments, ledger
from sriovctl import exit_codes
from sriovctl.checks import release
from sriovctl.node import attachments
from tests.sriovctl import nodes

KEYS = {
    *("device", "state", "namespace", "pod", "containerId", "interface", "network", "netns", "since", "mac", "vlan"),
    *("hostName", "heldByPod", "attachedBy"),
}


def states(node: nodes.Node, *arguments: str) -> dict[str, str]:
    ran = node.run("attachments", "-o", "json", *arguments)
    assert ran.status == exit_codes.Exit.FINE
    assert all(set(each) == KEYS for each in ran.document["items"])
    return {each["device"]: each["state"] for each in ran.document["items"]}


def record_of(node: nodes.Node) -> ledger.Record:
    found = node.bench.book.read(devices.pci_address(node.vf))
    assert found is not None
    return found


def write(node: nodes.Node, **changed: object) -> None:
    record = node.bench.book.read(devices.pci_address(node.vf)) or record_of(node)
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    node.bench.book.write(ledger.Record(**{**fields, **changed}))


def test_one_that_is_with_its_pod(node: nodes.Node) -> None:
    with node.serving():
        assert node.cni("ADD", vlan=100).code == 0
        ran = node.run("attachments", "-o", "json")
        table = node.run("attachments").out
    [one] = ran.document["items"]
    assert (one["state"], one["namespace"], one["pod"], one["vlan"]) == ("attached", "default", "web", 100)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["since"])
    assert (one["hostName"], one["mac"]) == ("enp1s0v0", "02:00:00:02:00:00")
    assert "default/web" in table
    assert states(node, "--stale") == {}


def test_each_state(node: nodes.Node) -> None:
    with node.serving():
        assert node.cni("ADD").code == 0
    before = record_of(node)
    write(node, netns=(1, 1))
    assert states(node, "--stale") == {node.vf: "no namespace"}
    write(node, netns=before.netns, device=before.device + 1)
    assert states(node) == {node.vf: "device gone"}
    (node.folder / "run/vfs" / f"{node.vf}.json").write_text("{")
    assert states(node) == {node.vf: "unknown owner"}
    write(node, **{name: getattr(before, name) for name in before.__struct_fields__})
    node.bench.machine.destroy("pod")
    assert states(node) == {node.vf: "left behind"}
    assert {each.meaning for each in attachments.State}


def test_release_refuses_what_a_pod_has(node: nodes.Node) -> None:
    with node.serving():
        assert node.cni("ADD").code == 0
        ran = node.run("attachments", "release", node.vf, "--yes")
        assert (ran.status, states(node)) == (exit_codes.Exit.REFUSED, {node.vf: "attached"})
    assert f"{node.vf} is held by default/web: its namespace" in ran.err
    assert "delete the pod" in ran.err


def test_release_of_a_device_that_is_gone_is_the_daemons_work(node: nodes.Node) -> None:
    with node.serving():
        assert node.cni("ADD").code == 0
        write(node, device=record_of(node).device + 1)
        ran = node.run("attachments", "release", node.vf, "--yes")
        assert (ran.status, states(node)) == (exit_codes.Exit.FINE, {})
    assert f"forget that container web-sandbox as net1 had {node.vf}" in ran.out


def test_release_of_what_a_claim_gave_is_of_all_that_came_with_it(node: nodes.Node) -> None:
    with node.serving():
        assert node.cni("ADD").code == 0
        own = record_of(node).owner
        write(node, device=record_of(node).device + 1, owner=msgspec.structs.replace(own, within="eth0"))
        given = (claim_attachments.ClaimedDevice(node.vf, own.ifname, {"type": "fixed"}),)
        book = claim_attachments.ClaimAttachments(node.folder / "run")
        book.write(
            claim_attachments.ClaimAttachment(
                container_id=own.container_id, ifname="eth0", network=own.network, devices=given
            )
        )
        ran = node.run("attachments", "release", node.vf, "--yes")
        assert (ran.status, states(node), book.all()) == (exit_codes.Exit.FINE, {}, [])


def test_release_without_the_daemon_changes_nothing(node: nodes.Node) -> None:
    with node.serving():
        assert node.cni("ADD").code == 0
    node.bench.machine.destroy("pod")
    ran = node.run("attachments", "release", node.vf, "--yes")
    assert (ran.status, states(node)) == (exit_codes.Exit.UNREADABLE, {node.vf: "left behind"})
    assert "only it may release a VF" in ran.err


def test_release_asks_and_takes_no_for_an_answer(node: nodes.Node) -> None:
    with node.serving():
        assert node.cni("ADD").code == 0
        write(node, device=record_of(node).device + 1)
        for answer, status, left in (("n\n", exit_codes.Exit.REFUSED, 1), ("y\n", exit_codes.Exit.FINE, 0)):
            ran = node.run("attachments", "release", node.vf, answers=answer)
            assert (ran.status, len(states(node))) == (status, left)
            assert "Go on?" in ran.out


def test_release_of_nothing_and_of_no_address(node: nodes.Node) -> None:
    assert node.run("attachments", "release", node.vf).status == exit_codes.Exit.FINE
    for short in (node.vf.removeprefix("0000:"), "enp1s0v0", "enp1s0#0"):
        ran = node.run("attachments", "release", short)
        assert (ran.status, ran.out) == (0, f"nobody holds {node.vf}: there is nothing to release\n")
    ran = node.run("attachments", "release", "../../etc")
    assert (ran.status, "is neither a PCI address nor a netdev" in ran.err) == (exit_codes.Exit.USAGE, True)


def test_no_attachment_at_all(node: nodes.Node) -> None:
    with node.kubelet():
        assert node.run("attachments").out == "no pod has a VF\n"
        assert node.run("attachments", "--stale").out == "no VF is away from its pod\n"
        (node.folder / "run/vfs").rmdir()
        (node.folder / "run/vfs").write_text("")
        ran = node.run("attachments")
    assert (ran.out, "not seen: owners: " in ran.err) == ("", True)


def test_a_vf_that_a_process_still_holds_is_not_released(node: nodes.Node) -> None:
    """The path is gone and the VF is not at home: the daemon waits for it, says so, and the record stays."""
    with node.serving():
        assert node.cni("ADD").code == 0
        owner = record_of(node).owner
        moved = ledger.Owner(container_id=owner.container_id, ifname=owner.ifname, network=owner.network, netns="/gone")
        write(node, owner=moved)
        ran = node.run("attachments", "release", node.vf, "--yes")
        assert (ran.status, states(node)) == (exit_codes.Exit.UNREADABLE, {node.vf: "no namespace"})
    assert "its namespace is still held by a process" in ran.err


@pytest.fixture
def left(node: nodes.Node) -> attachments.ListedAttachment:
    with node.serving():
        assert node.cni("ADD").code == 0
    return attachments.ListedAttachment(record_of(node), attachments.State.NO_NAMESPACE, None, "default/web", None)


def test_judged_by_evidence_alone(left: attachments.ListedAttachment) -> None:
    assert release.judge(left, is_gone=None).actions
    held = msgspec.structs.replace(left, kubelet="default/web")
    assert "the kubelet reports that the pod has it" in release.judge(held, is_gone=None).refusal
    home = msgspec.structs.replace(held, state=attachments.State.LEFT_BEHIND)
    assert release.judge(home, is_gone=None).actions, "a VF that is home has no owner, whatever the kubelet says"
    fields = {name: getattr(left.record, name) for name in left.record.__struct_fields__}
    vfio = msgspec.structs.replace(
        left, record=ledger.Record(**{**fields, "home": None, "mark": nsid.Mark((1, 1), 1, 2)})
    )
    for is_gone in (None, False):
        assert "does not report that the namespace" in release.judge(vfio, is_gone=is_gone).refusal
    assert release.judge(vfio, is_gone=True).actions
    unknown = msgspec.structs.replace(left, record=ledger.Record(**{**fields, "owner": ledger.UNKNOWN}))
    assert "is damaged" in release.judge(unknown, is_gone=True).refusal
