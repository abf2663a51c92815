"""VFs that sriov-cni attached: every command shows what it wrote down of them, with the pod by the kubelet."""

import os
import shutil

import pytest

from sriov import devices
from sriov.state import predecessor
from sriovctl import exit_codes
from tests.examples import pages
from tests.sriovctl import nodes, test_page
from tests.sriovctl.commands import test_doctor

MAC = "02:00:00:00:00:01"


def inventory(node: nodes.Node) -> dict[str, dict[str, object]]:
    return {each["device"]: each for each in node.run("inventory", "-o", "json").document["items"]}


def test_inventory_has_owner_mac_and_vlan(node: nodes.Node) -> None:
    node.attached_by_sriov_cni(MAC=MAC.upper(), vlan=100)
    node.give("web", node.vf)
    node.give("late", node.bench.vfs[1])
    with node.kubelet():
        found = inventory(node)
        table = node.run("inventory").out
    assert found[node.vf]["owner"] == {
        "namespace": "default",
        "pod": "web",
        "containerId": "0ab34567890123456",
        "interface": "net1",
        "network": "n1",
        "attached": True,
        "attachedBy": "sriov-cni",
    }
    assert (found[node.vf]["mac"], found[node.vf]["vlan"], found[node.vf]["mtu"]) == (MAC, 100, 1500)
    assert "default/web (sriov-cni)" in table
    assert table.count("(no ADD yet)") == 1, "that is the other pod's"


def test_without_a_kubelet_its_container_is_the_owner(node: nodes.Node) -> None:
    node.attached_by_sriov_cni()
    assert "container 0ab345678901 (sriov-cni)" in node.run("inventory").out
    [one] = node.run("attachments", "-o", "json").document["items"]
    assert (one["state"], one["pod"], one["containerId"]) == ("attached", None, "0ab34567890123456")
    assert (one["mac"], one["vlan"], one["hostName"]) == ("02:00:00:02:00:00", None, "enp1s0v0")
    assert (one["attachedBy"], one["netns"]) == ("sriov-cni", node.bench.machine.path("pod"))


def test_the_page_of_the_change_shows_what_is_printed(node: nodes.Node) -> None:
    [example] = [each for each in pages.examples("docs/migration.md") if each.command == "sriovctl attachments"]
    path = node.attached_by_sriov_cni(MAC=MAC, vlan=100)
    os.utime(path, (1, 1))
    node.give("web", node.vf)
    with node.kubelet():
        assert test_page.normal(node.run("attachments").out, node.folder) == example.printed


def test_explain_of_the_vf_and_of_the_pod(node: nodes.Node) -> None:
    sick = test_doctor.Sick(node)
    node.attached_by_sriov_cni(vlan=100)
    node.give("web", node.vf)
    with node.serving(), node.kubelet():
        for about in (node.vf, "web"):
            ran = node.run("explain", about, "-o", "json")
            steps = {each["step"]: each for each in ran.document["items"]}
            assert (ran.status, ran.document["reason"]) == (exit_codes.Exit.FINE, None)
            assert steps["added"]["answer"] == "yes"
            assert steps["added"]["evidence"].startswith(f"by sriov-cni, as it wrote down in {node.folder}/cache")
            assert steps["attached"]["evidence"] == (
                f"{node.vf} as net1 is attached: the VF is with its pod;"
                " sriov-cni wrote down MAC 02:00:00:02:00:00, VLAN 100"
            )
    sick.close()


def test_explain_without_a_kubelet_names_the_container_and_whose_record_it_is(node: nodes.Node) -> None:
    node.attached_by_sriov_cni()
    found = node.run("explain", node.vf, "-o", "json").document["items"]
    [owner] = [each["evidence"] for each in found if each["step"] == "owner"]
    assert owner == "container 0ab34567890123456 as net1, by the record of sriov-cni"


def test_the_ledger_goes_before_what_sriov_cni_left(node: nodes.Node) -> None:
    """Its DEL never came, and the VF has another pod since."""
    path = node.attached_by_sriov_cni(vlan=100)
    written = path.read_bytes()
    node.bench.machine.destroy("pod")
    pod = node.bench.machine.namespace("pod")
    with node.serving():
        assert node.cni("ADD", vlan=300).code == 0
    path.write_bytes(written)
    [one] = node.run("attachments", "-o", "json").document["items"]
    assert (one["vlan"], one["attachedBy"], one["containerId"]) == (300, "sriov-underlay", "web-sandbox")
    pod.close()


def test_a_file_that_outlived_a_reboot_tells_nothing(node: nodes.Node) -> None:
    """The VF is in the host, or there is no such VF any more."""
    path = node.attached_by_sriov_cni()
    shutil.copy(path, node.folder / "cache/gone-net1")
    text = (node.folder / "cache/gone-net1").read_text().replace(node.vf, "0000:99:00.0")
    (node.folder / "cache/gone-net1").write_text(text)
    node.bench.machine.destroy("pod")
    assert inventory(node)[node.vf]["owner"] is None
    assert node.run("attachments").out == "no pod has a VF\n"


def test_a_namespace_that_is_gone_is_said_and_can_be_released(node: nodes.Node) -> None:
    path = node.attached_by_sriov_cni()
    (node.folder / "cache/pci" / node.vf).write_text("/run/netns/of-a-pod-that-is-gone")
    with node.serving():
        [one] = node.run("attachments", "-o", "json").document["items"]
        assert one["state"] == "no namespace"
        node.bench.machine.destroy("pod")
        assert node.run("attachments", "-o", "json").document["items"] == []
    assert path.exists(), "the daemon ends it at the next ADD or DEL"


def test_release_is_refused_while_the_pod_is_there(node: nodes.Node) -> None:
    node.attached_by_sriov_cni()
    with node.serving():
        ran = node.run("attachments", "release", node.vf, "--yes")
    assert ran.status == exit_codes.Exit.REFUSED
    assert f"held by container 0ab34567890123456 as net1: its namespace {node.bench.machine.path('pod')}" in ran.err


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({"vlan": 4095}, ("02:00:00:02:00:00", None)),
        ({"vlan": "100"}, ("02:00:00:02:00:00", None)),
        ({"vlan": None, "MAC": ""}, ("02:00:00:02:00:00", None)),
        ({"vlan": True, "MAC": "\x1b[2J"}, ("02:00:00:02:00:00", None)),
        ({"vlan": [1], "MAC": {"a": 1}}, ("02:00:00:02:00:00", None)),
        ({"vlan": 7, "MAC": "02:00:00:00:00:0A"}, ("02:00:00:00:00:0a", 7)),
    ],
)
def test_what_cannot_be_a_mac_or_a_vlan_is_not_shown(
    node: nodes.Node, keys: dict[str, object], shown: tuple[str, int | None]
) -> None:
    """And takes nothing away from the rest of the record, by which the VF is taken back."""
    node.attached_by_sriov_cni(**keys)
    found = inventory(node)[node.vf]
    assert (found["mac"], found["vlan"]) == shown
    records = predecessor.Upstream(node.folder / "cache")
    assert records.of_device(devices.pci_address(node.vf)) is not None


@pytest.mark.parametrize(("admin", "shown"), [(MAC, MAC), ("00:00:00:00:00:00", None), (7, None)])
def test_a_vf_without_a_netdev_has_the_mac_that_its_pf_had_for_it(
    node: nodes.Node, admin: object, shown: str | None
) -> None:
    """vfio-pci: it stays where it is, and its namespace shows whether the pod is there."""
    node.attached_by_sriov_cni(OrigVfState={"HostIFName": "", "EffectiveMAC": "", "AdminMAC": admin})
    [one] = node.run("attachments", "-o", "json").document["items"]
    assert (one["state"], one["mac"], one["hostName"]) == ("attached", shown, None)


def test_a_record_that_no_program_can_decode_costs_the_others_nothing(node: nodes.Node) -> None:
    """It has what a pod's network said."""
    good = node.attached_by_sriov_cni(MAC=MAC)
    (good.parent / "deep-net1").write_text('{"prevResult": ' + "[" * 5_000 + "]" * 5_000 + "}")
    assert inventory(node)[node.vf]["mac"] == MAC


def test_a_folder_that_cannot_be_listed_is_unseen(node: nodes.Node) -> None:
    (node.folder / "cache").write_text("")
    [seen] = [each for each in node.run("inventory", "-o", "json").document["unseen"] if "sriov-cni" in each]
    assert seen.startswith(f"VFs that sriov-cni attached: cannot read {node.folder}/cache: Not a directory")
