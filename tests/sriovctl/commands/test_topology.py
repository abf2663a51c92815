"""topology: the tree as text, as SVG, as JSON, and as NCCL reads it."""

from xml.etree import ElementTree as Xml

import pytest

from sriov import devices
from sriov.hardware import sysfs
from sriovctl import exit_codes
from sriovctl.node import pcie
from tests.sriovctl import nodes
from tests.sriovctl.commands import test_doctor


@pytest.fixture
def rail(node: nodes.Node) -> nodes.Node:
    """A switch with a GPU and a PF with two VFs, of which pod web holds one, and the GPU."""
    sick = test_doctor.Sick(node)
    sick.gpu_and_nic(0)
    sick.close()
    tree = node.bench.machine.node
    pf = devices.pci_address("0000:03:00.0")
    tree.set_netdev(pf, sysfs.Netdev("ens3", 77, "52:54:00:00:00:77", 1500))
    vfs = tree.set_numvfs(pf, 1)
    tree.set_rdma(vfs[0], 5)
    tree.set_attribute(pf, "net/ens3/speed", 100000)
    tree.set_attribute(pf, "max_link_speed", "16.0 GT/s PCIe")
    node.give("web", str(vfs[0]), "0000:04:00.0", resource="intel.com/rail_b")
    return node


def test_the_tree_as_text(rail: nodes.Node) -> None:
    with rail.kubelet():
        ran = rail.run("topology")
    assert ran.status == 0
    lines = [line.strip("│├└─ ") for line in ran.out.splitlines()]
    assert lines[0] == "root pci0000:00"
    assert "PF 0000:03:00.0 ens3 igb, PXB to GPU 0000:04:00.0" not in lines, "one switch, one bridge each: PIX"
    assert "PF 0000:03:00.0 ens3 igb, PIX to GPU 0000:04:00.0" in lines
    at = lines.index("VF 0 0000:03:10.0")
    assert lines[at + 1] == "pod default/web"
    assert "GPU 0000:04:00.0 :" in lines
    assert ran.out.count("└─") >= 3


def test_the_tree_for_programs_and_as_a_drawing(rail: nodes.Node) -> None:
    with rail.kubelet():
        tree = rail.run("topology", "-o", "json").document
        drawn = rail.run("topology", f"--svg={rail.folder}/t.svg")
    [root] = tree["items"]
    assert set(root) == {"kind", "id", "label", "children"}
    assert {each["kind"] for each in root["children"]} == {"bridge", "pf"}
    picture = Xml.parse(rail.folder / "t.svg").getroot()  # noqa: S314
    texts = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert (drawn.status, drawn.out) == (0, "")
    assert "pod default/web" in texts
    assert len(texts) == len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) > 10


def test_the_file_for_nccl(rail: nodes.Node) -> None:
    with rail.kubelet():
        ran = rail.run("topology", "--nccl", "web")
    system = Xml.fromstring(ran.out)  # noqa: S314
    assert (system.tag, system.get("version")) == ("system", "1")
    assert [cpu.get("numaid") for cpu in system] == ["-1"]
    [net] = system.iter("net")
    assert net.attrib == {"name": "mlx5_5"}, "what NCCL finds out itself is left to it"
    buses = [each.get("busid") for each in system.iter("pci")]
    assert buses[:2] == ["0000:00:01.0", "0000:02:00.0"]
    assert {"0000:03:10.0", "0000:04:00.0"} < set(buses)
    assert len(buses) == len(set(buses)), "each bridge once"
    switch = next(each for each in system.iter("pci") if each.get("busid") == "0000:02:00.0")
    assert {each.get("busid") for each in switch.iter("pci")} > {"0000:03:10.0", "0000:04:00.0"}


@pytest.mark.parametrize("device", ["GPU-3f4a-00", "1", "GPU-3f4a-00::2", "1::0"])
def test_nvidias_ids_become_pci_addresses(rail: nodes.Node, device: str) -> None:
    for pci, uuid in (("0000:01:1f.0", "GPU-aaaa-00"), ("0000:04:00.0", "GPU-3f4a-00")):
        folder = rail.folder / "proc/driver/nvidia/gpus" / pci
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t NVIDIA H100\nIRQ:   \t\t 90\nGPU UUID: \t {uuid}\n")
    rail.give("train", device, resource="nvidia.com/gpu")
    with rail.kubelet():
        ran = rail.run("topology", "--nccl", "train")
    buses = [each.get("busid") for each in Xml.fromstring(ran.out).iter("pci")]  # noqa: S314
    assert "0000:04:00.0" in buses


@pytest.mark.parametrize("device", ["MIG-3f4a-00", "7", "GPU-unknown"])
def test_an_id_that_nothing_tells_is_no_device(rail: nodes.Node, device: str) -> None:
    rail.give("train", device, resource="nvidia.com/gpu")
    with rail.kubelet():
        assert rail.run("topology", "--nccl", "train").status == exit_codes.Exit.UNREADABLE


@pytest.mark.parametrize(
    ("pci_class", "vendor", "is_one"),
    [
        ("0x030200", "0x10de", True),
        ("0x030000", "0x10de", True),
        ("0x030000", "0x1002", True),
        ("0x038000", "0x8086", True),
        ("0x120000", "0x1da3", True),
        ("0x030000", "0x1a03", False),
        ("0x030000", "0x102b", False),
        ("0x030000", "0x1234", False),
        ("0x020000", "0x10de", False),
    ],
)
def test_the_picture_of_a_management_controller_is_no_gpu(pci_class: str, vendor: str, is_one: bool) -> None:
    assert pcie.Function("a", pci_class, vendor, "", None, None, ("r0",), None, None).is_gpu is is_one


def test_a_pod_without_devices_has_no_such_file(rail: nodes.Node) -> None:
    with rail.kubelet():
        ran = rail.run("topology", "--nccl", "other")
    assert (ran.status, ran.out) == (exit_codes.Exit.UNREADABLE, "")
    assert "pod default/other has no device that NCCL could use" in ran.err


def function(pci: str, *path: str, numa: int | None = None) -> pcie.Function:
    return pcie.Function(pci, "0x020000", "", "", None, numa, path, None, None)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (function("a", "r0", "p0", "s1"), function("b", "r0", "p0", "s2"), "PIX"),
        (function("a", "r0", "p0", "s1", "x"), function("b", "r0", "p0", "s2"), "PXB"),
        (function("a", "r0", "p0"), function("b", "r0", "p1"), "PHB"),
        (function("a", "r0", numa=1), function("b", "r1", numa=1), "NODE"),
        (function("a", "r0", numa=0), function("b", "r1", numa=1), "SYS"),
    ],
)
def test_distances_are_those_of_nvidia_smi(one: pcie.Function, other: pcie.Function, expected: str) -> None:
    assert pcie.distance(one, other) == pcie.distance(other, one) == expected
