"""sriovctl explains what was done to a node with real SR-IOV: the eight failures of its promise, each brought about."""

import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from sriovctl import exit_codes
from tests.kernel import namespaces
from tests.lab import igb, sriovctls

RAIL = sriovctls.RAIL


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Iterator[sriovctls.Node]:
    with sriovctls.prepared(tmp_path) as made:
        yield made


def reason(node: sriovctls.Node, *what: str) -> tuple[str, str, str | None]:
    """Step, evidence and remedy."""
    ran = node.run("explain", *what, "-o", "json")
    assert ran.status == exit_codes.Exit.TROUBLE, ran
    first = next(each for each in ran.document["items"] if each["answer"] == "no")
    assert ran.document["reason"] == first["step"]
    return first["step"], first["evidence"], first["remedy"]


def test_a_pod_that_has_its_vf(node: sriovctls.Node) -> None:
    with node.serving(), namespaces.made("pod") as pod:
        assert node.cni("ADD", pod).code == 0
        of_pod, of_vf = (node.run("explain", what, "-o", "json") for what in ("web", node.vf))
        assert node.cni("DEL", pod).code == 0
    answers = {each["step"]: each["answer"] for each in of_pod.document["items"]}
    assert (of_pod.status, {*answers.values()}) == (0, {"yes"})
    assert (of_vf.status, {each["answer"] for each in of_vf.document["items"]}) == (0, {"yes"})


def test_a_resource_that_is_misspelt(node: sriovctls.Node) -> None:
    told = reason(node, "web", "--resource", "intel.com/rail-a")
    assert told == ("pool", f"config.json has {RAIL}", f"write {RAIL} in the pod")


def test_a_pool_that_is_empty(node: sriovctls.Node) -> None:
    """The driver of the guest's VFs is another."""
    node.configure({"drivers": ["iavf"]})
    step, evidence, remedy = reason(node, "web")
    assert (step, evidence) == ("devices", "14 VFs: drivers: it has igbvf")
    assert "change its selectors" in str(remedy)


def test_a_vf_that_is_unhealthy(node: sriovctls.Node) -> None:
    """It has lost its driver, and is all that the pool has."""
    node.configure({"pciAddresses": [node.vf]})
    (igb.TREE.pci(node.vf) / "driver/unbind").write_text(node.vf)
    try:
        with node.serving():
            step, evidence, _ = reason(node, "web")
            assert reason(node, node.vf) == ("driver", "none", f"echo {node.vf} > /sys/bus/pci/drivers_probe")
        assert (step, evidence) == ("healthy", "0 of 1; 1 has no driver")
    finally:
        pathlib.Path("/sys/bus/pci/drivers_probe").write_text(node.vf)
        assert namespaces.until(lambda: igb.TREE.netdev(node.vf) is not None)


def test_a_kubelet_that_does_not_know_the_resource(node: sriovctls.Node) -> None:
    node.api.known.clear()
    assert reason(node, "web") == ("registered", "no device plugin serves it", "start the device plugin")


def test_a_daemon_that_is_down(node: sriovctls.Node) -> None:
    step, evidence, remedy = reason(node, "web")
    assert (step, "it is not running" in evidence) == ("daemon", True)
    assert "start it" in str(remedy)


def test_a_policy_that_refuses(node: sriovctls.Node) -> None:
    (node.folder / "policy.json").write_text('{"rules": [{"vlans": ["100"]}]}')
    with node.serving(), namespaces.made("pod") as pod:
        assert node.cni("ADD", pod, vlan=7).code == 7
        step, evidence, _ = reason(node, "web")
    assert (step, "vlan 7: it allows 100" in evidence) == ("added", True)


def test_a_pf_that_is_down(node: sriovctls.Node) -> None:
    """With checkHealthOnPf no pod is given a VF of it; the VF itself is told apart from its link."""
    node.configure({"rootDevices": [str(igb.PF0)]}, checkHealthOnPf=True)
    netdev = str(igb.TREE.netdev_name(igb.PF0))
    try:
        subprocess.run(["ip", "link", "set", netdev, "down"], check=True)
        with node.serving():
            step, evidence, _ = reason(node, "web")
            of_vf = reason(node, node.vf)
    finally:
        subprocess.run(["ip", "link", "set", netdev, "up"], check=True)
        assert namespaces.until(lambda: (igb.TREE.pci(igb.PF0) / "net" / netdev / "carrier").read_text() == "1\n")
    for index in range(7):
        igb.hand_out(node.folder, index)  # a PF that was down hears no VF that was not reset since
    assert (step, evidence) == ("healthy", f"0 of 7; 7 has its PF {netdev} down")
    assert of_vf == ("link", f"{netdev} is down", f"ip link set {netdev} up; look at cable and switch")


def test_addresses_that_are_used_up(node: sriovctls.Node) -> None:
    """host-local's own words."""
    with node.serving(), namespaces.made("first") as first, namespaces.made("second") as second:
        assert node.cni("ADD", first, "c0", ipam=node.ipam()).code == 0
        node.vf = igb.vf(4).pci
        assert node.cni("ADD", second, "c1", ipam=node.ipam()).code != 0
        step, evidence, remedy = reason(node, "web")
        node.vf = igb.vf(3).pci
        assert node.cni("DEL", first, "c0", ipam=node.ipam()).code == 0
    assert (step, "no IP addresses available" in evidence) == ("added", True)
    assert "IPAM" in str(remedy)


def test_release_takes_home_what_a_dead_pod_had(node: sriovctls.Node) -> None:
    """Its namespace is gone and no DEL has come; the daemon's own repair may be quicker, which is as good."""
    with node.serving(), namespaces.made("pod") as pod:
        assert node.cni("ADD", pod, vlan=100).code == 0
        subprocess.run(["ip", "netns", "del", pathlib.Path(pod.path).name], check=True)
        pod.handle.close()
        assert namespaces.until(lambda: igb.TREE.netdev(node.vf) is not None)
        ran = node.run("attachments", "release", node.vf, "--yes")
        assert ran.status == 0, ran
        assert igb.administered(3).vlan == 0
