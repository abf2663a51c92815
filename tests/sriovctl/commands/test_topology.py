"""topology: the tree as text, as SVG, as JSON, and as NCCL reads it; and what docs/sriovctl.md shows of it."""

from xml.etree import ElementTree as Xml

import pytest

from sriov import devices
from sriov.hardware import sysfs
from sriov.state import grants
from sriovctl import exit_codes
from sriovctl.node import pcie
from tests.sriovctl import nodes, test_page
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


NEAR = "GPU 0000:04:00.0 shares its PCIe root pci0000:00 with "
COARSE, REMEDY = "  pcieRoot is too coarse here: ", "Select the VF by the attribute pcieSwitch, too"


def test_free_vfs_of_a_gpus_root_and_that_it_is_too_coarse(rail: nodes.Node) -> None:
    """rail_a's PF is another one below the same root; rail_b's is beside the GPU, behind the same switch."""
    rail.configure([*nodes.CONFIG, {"resourceName": "rail_b", "selectors": {"pfNames": ["ens3"]}}])
    with rail.kubelet():
        held = rail.run("topology").out.splitlines()
        rail.api.pods.clear()
        free = rail.run("topology").out.splitlines()
        [told] = rail.run("topology", "-o", "json").document["alignment"]
    count = len(rail.bench.vfs)
    assert held[-1] == f"{NEAR}{count} of intel.com/rail_a", "pod web has the only VF of rail_b"
    assert free[-2:] == [
        f"{NEAR}{count} of intel.com/rail_a, 1 of intel.com/rail_b",
        f"{COARSE}only 1 of intel.com/rail_b are reached without the host bridge. {REMEDY}",
    ]
    assert "\n".join(free[-2:]).replace(f"with {count}", "with 7") in test_page.PAGE
    assert told == {
        "gpu": "0000:04:00.0", "pcieRoot": "pci0000:00", "coarse": True,
        "freeVfs": {"intel.com/rail_a": count, "intel.com/rail_b": 1}, "nearVfs": {"intel.com/rail_b": 1},
    }  # fmt: skip


def test_a_vf_that_a_claim_has_is_not_free(rail: nodes.Node) -> None:
    rail.configure([{"resourceName": "rail_b", "publish": "dra", "selectors": {"pfNames": ["ens3"]}}])
    rail.api.pods.clear()
    known = grants.Grants(rail.folder / "run")
    known.create()
    given = grants.GrantedDevice("0000:03:10.0", "vf", "node-1/intel.com/rail-b", "0000-03-10-0")
    with rail.kubelet():
        before = rail.run("topology").out.splitlines()[-1]
        known.write(grants.ClaimGrant(uid="u1", namespace="ml", name="rails", devices=(given,)))
        after = rail.run("topology").out.splitlines()[-1]
    assert (before, after) == (f"{NEAR}1 of intel.com/rail_b", f"{NEAR}no free VF")
