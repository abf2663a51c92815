"""VFs that have no netdev in the host, for a while or for good: the driver is at work, has lost it, or it is elsewhere.

pci-stub is a driver that never makes a netdev: to a VF that has it, nothing else happens than to one whose driver
takes its time, or has failed.
"""

import pathlib
import subprocess

from sriov.hardware import inventory
from tests.kernel import namespaces
from tests.lab import cnis, drivers, igb

VF = 1
MAC = "02:00:00:00:20:01"


def test_f20_a_netdev_that_appears_late(tmp_path: pathlib.Path) -> None:
    """Try again later, nothing noted or leased; once the netdev is there, the same call is served."""
    pci = igb.vf(VF).pci
    with cnis.opened(tmp_path) as cni, namespaces.made("pod") as pod:
        with drivers.bound(pci, "pci-stub"):
            answer = cni.call("ADD", pci, pod, "c1", vlan=100, mac=MAC)
            assert answer.code == 11, answer
            assert "no netdev" in answer.message
            cni.assert_nothing_is_held()
        cni.add(pci, pod, vlan=100, mac=MAC)
        assert cnis.links(pod)["net1"].address == MAC
        cni.delete(pci, pod)
        cni.assert_nothing_is_held()


def test_f29_a_driver_that_has_lost_its_netdev(tmp_path: pathlib.Path) -> None:
    """Its pod ends, and the VF is kept from others by name for as long as it lasts; then it is at the baseline."""
    pci = igb.vf(VF).pci
    with cnis.opened(tmp_path) as cni, namespaces.made("pod") as pod, namespaces.made("other") as other:
        cni.add(pci, pod, vlan=100, mac=MAC)
        with drivers.bound(pci, "pci-stub"):
            assert set(cnis.links(pod)) == {"lo"}
            cni.delete(pci, pod)
            [record] = cni.book.records()
            assert (record.pci, "pci-stub" in record.problem) == (pci, True)
            answer = cni.call("ADD", pci, other, "c2")
            assert (answer.code, "pci-stub" in answer.message) == (7, True), answer
        cni.delete(pci, pod)
        assert igb.administered(VF).vlan == 0
        cni.assert_nothing_is_held()


def test_f29_a_vf_in_a_namespace_that_nobody_can_name_any_more(tmp_path: pathlib.Path) -> None:
    """A process of the pod lives on in it. Its end brings the VF home, and the DEL that is tried again succeeds."""
    pci = igb.vf(VF).pci
    with cnis.opened(tmp_path) as cni, igb.borrowed(VF) as netdev:
        with namespaces.made("pod") as pod:
            cni.add(pci, pod, vlan=100, mac=MAC)
            last = subprocess.Popen(["ip", "netns", "exec", pod.name, "sleep", "600"])
            assert namespaces.until(lambda: pathlib.Path(f"/proc/{last.pid}/comm").read_text() == "sleep\n")
        assert cni.call("DEL", pci, None, "c1").code == 11
        last.kill()
        last.wait()
        cni.delete(pci, None)
        assert igb.TREE.netdev(pci) == netdev
        cni.assert_nothing_is_held()


def test_f23_a_vf_in_another_namespace_has_no_netdev_here(tmp_path: pathlib.Path) -> None:
    """It has its driver all the same, and whoever else wants it hears who has it; also where nobody wrote that down."""
    pci = igb.vf(VF).pci
    with cnis.opened(tmp_path) as cni, namespaces.made("pod") as pod, namespaces.made("other") as other:
        cni.add(pci, pod, "c1", vlan=100)
        found = inventory.lookup(igb.TREE, pci)
        assert (found.netdev, found.driver) == (None, "igbvf")
        answer = cni.call("ADD", pci, other, "c2")
        assert answer.code == 11, answer
        assert "container c1" in answer.message
        cni.delete(pci, pod)
        with igb.borrowed(VF) as netdev:
            subprocess.run(["ip", "link", "set", netdev.name, "netns", pod.name], check=True)
            answer = cni.call("ADD", pci, other, "c2")
            assert answer.code == 11, answer
            subprocess.run(
                ["ip", "-n", pod.name, "link", "set", netdev.name, "netns", "1", "name", netdev.name], check=True
            )
        cni.assert_nothing_is_held()
