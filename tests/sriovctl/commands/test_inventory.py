"""inventory: what is shown of each PF and VF, to people and to programs, and how it follows."""

import json
import subprocess
import sys
import threading

import pytest

from sriov import devices
from sriovctl import exit_codes
from tests.sriov_cni import harness
from tests.sriovctl import nodes

KEYS = {
    *("device", "role", "pf", "index", "netdev", "driver", "vendorId", "deviceId", "numaNode", "linkType", "link"),
    *("speedMbps", "mtu", "numVfs", "totalVfs", "pool", "health", "reason", "owner", "mac", "vlan"),
}
OWNER_KEYS = {"namespace", "pod", "containerId", "interface", "network", "attached", "attachedBy"}
PF = devices.pci_address("0000:01:00.0")


def items(node: nodes.Node, *arguments: str) -> dict[str, dict[str, object]]:
    ran = node.run("inventory", "-o", "json", *arguments)
    assert (ran.status, ran.err) == (0, "")
    assert set(ran.document) == {"apiVersion", "kind", "unseen", "items"}
    assert all(set(each) == KEYS for each in ran.document["items"])
    return {each["device"]: each for each in ran.document["items"]}


def test_a_pf_and_its_vfs_in_order(node: nodes.Node) -> None:
    node.bench.machine.node.set_attribute(PF, "net/enp1s0/speed", 25000)
    node.bench.machine.node.set_attribute(PF, "net/enp1s0/carrier", 1)
    found = items(node)
    assert list(found) == ["0000:01:00.0", *node.bench.vfs]
    pf, vf = found["0000:01:00.0"], found[node.vf]
    assert (pf["role"], pf["netdev"], pf["numVfs"], pf["totalVfs"], pf["link"]) == ("PF", "enp1s0", 7, 7, "up")
    assert (vf["role"], vf["pf"], vf["index"], vf["driver"], vf["speedMbps"]) == ("VF", "enp1s0", 0, "igbvf", 25000)
    assert (vf["pool"], vf["health"], vf["reason"], vf["owner"]) == (nodes.RAIL, "Healthy", None, None)
    assert (vf["netdev"], vf["mac"]) == ("enp1s0v0", "02:00:00:02:00:00")


def test_health_comes_with_its_reason(node: nodes.Node) -> None:
    sysfs = node.bench.machine.node
    sysfs.set_driver(node.bench.vfs[1], None)
    sysfs.set_attribute(PF, "net/enp1s0/flags", "0x1002")
    found = items(node)
    assert found[node.bench.vfs[1]]["reason"] == "it has no driver"
    assert (found[node.vf]["health"], found[node.vf]["reason"]) == ("Unhealthy", "it has its PF enp1s0 down")


def test_an_attached_vf_shows_pod_mac_and_vlan(node: nodes.Node) -> None:
    node.give("web", node.vf, node.bench.vfs[1])
    with node.serving(), node.kubelet():
        assert node.cni("ADD", vlan=100, mac="02:00:00:00:cc:01").code == 0
        found = items(node)
        table = node.run("inventory", "--output", "wide")
    vf = found[node.vf]
    assert set(vf["owner"]) == OWNER_KEYS  # type: ignore[call-overload]
    assert vf["owner"] == {
        "namespace": "default",
        "pod": "web",
        "containerId": "web-sandbox",
        "interface": "net1",
        "network": "n1",
        "attached": True,
        "attachedBy": "sriov-underlay",
    }
    assert (vf["netdev"], vf["mac"], vf["vlan"]) == (None, "02:00:00:00:cc:01", 100)
    waiting = found[node.bench.vfs[1]]["owner"]
    assert isinstance(waiting, dict)
    assert (waiting["pod"], waiting["attached"]) == ("web", False)
    assert "default/web (no ADD yet)" in table.out
    assert "web-sandbox" in table.out


def test_without_a_kubelet_the_daemons_record_tells_the_pod(node: nodes.Node) -> None:
    with node.serving():
        assert node.cni("ADD").code == 0
        ran = node.run("inventory")
    assert "default/web" in ran.out
    assert "not seen: pods: there is no" in ran.err


def test_filters(node: nodes.Node) -> None:
    node.configure([{"resourceName": "two", "selectors": {"pfNames": ["enp1s0#0-1"]}}])
    with node.kubelet():
        assert list(items(node, "--pool", "two")) == list(node.bench.vfs[:2])
        assert list(items(node, "--pool", "intel.com/two")) == list(node.bench.vfs[:2])
        for pf in ("enp1s0", "0000:01:00.0", "01:00.0"):
            assert len(items(node, "--pf", pf)) == 8


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--pf", "enp9s0"], "'enp9s0' is no PF of this node, which has 0000:01:00.0 enp1s0"),
        (["--pf", "01:10.0"], "'01:10.0' is no PF of this node, which has 0000:01:00.0 enp1s0"),
        (["--pool", "nope"], "there is no pool 'nope': the configuration has intel.com/rail_a"),
        (["--pool", "nope", "--watch"], "there is no pool 'nope'"),
    ],
)
def test_a_pf_or_pool_that_is_not_there(node: nodes.Node, arguments: list[str], says: str) -> None:
    with node.kubelet():
        ran = node.run("inventory", *arguments)
    assert (ran.status, ran.out, says in ran.err) == (exit_codes.Exit.USAGE, "", True)


def test_a_pool_without_devices_and_a_configuration_that_cannot_be_read(node: nodes.Node) -> None:
    node.configure([{"resourceName": "none", "selectors": {"vendors": ["dead"]}}])
    with node.kubelet():
        ran = node.run("inventory", "--pool", "none")
        assert (ran.status, ran.out) == (0, "intel.com/none has no device\n")
        (node.folder / "config.json").unlink()
        ran = node.run("inventory", "--pool", "none")
    assert (ran.status, "there is no pool 'none': " in ran.err, "cannot be read" in ran.err) == (2, True, True)


@pytest.mark.parametrize("text", ["", "{"])
def test_a_configuration_that_is_no_good_hides_only_the_pools(node: nodes.Node, text: str) -> None:
    (node.folder / "config.json").write_text(text)
    ran = node.run("inventory", "-o", "json")
    assert (ran.status, len(ran.document["items"])) == (0, 8)
    assert any("config.json is not JSON" in each for each in ran.document["unseen"])


def test_a_configuration_that_is_not_there_is_told_with_the_flag_that_names_it(node: nodes.Node) -> None:
    (node.folder / "config.json").unlink()
    [told] = (each for each in node.run("inventory", "-o", "json").document["unseen"] if "config.json" in each)
    assert told.endswith("config.json cannot be read: No such file or directory; name the file with --config-file")


def test_no_sysfs_is_no_empty_table(node: nodes.Node) -> None:
    ran = node.run(f"--sysfs={node.folder}/nowhere", "inventory")
    assert (ran.status, ran.out) == (3, "")
    assert "is sysfs mounted there?" in ran.err


def test_watch_follows_an_attach_without_being_asked(node: nodes.Node) -> None:
    """Its next look without a reason comes after 30 seconds, when the test would have given up."""
    command = [sys.executable, "-m", "sriovctl", *node.places, "inventory", "--watch", "-o", "json"]
    with node.serving(), subprocess.Popen(command, cwd=harness.PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        patience = threading.Timer(25, process.kill)
        patience.start()
        try:
            first = json.loads(process.stdout.readline())
            assert [each["owner"] for each in first["items"]] == [None] * 8
            assert node.cni("ADD").code == 0
            while not (owner := json.loads(process.stdout.readline())["items"][1]["owner"]):
                pass
            assert owner["pod"] in ("web", None)
        finally:
            patience.cancel()
            process.terminate()
