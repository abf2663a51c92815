"""Users of a VF: each kind of evidence, and none if there is none."""

import pathlib

from sriov import settings
from sriov.provisioning import vf_use
from sriov.state import ledger
from tests.sriov.provisioning import nodes

PID = "4711"


def user(node: nodes.Node, index: int = 0) -> str | None:
    return node.pf().vfs[index].user


def opens(proc: pathlib.Path, path: str) -> None:
    """A process that has it open."""
    (proc / PID / "fd").mkdir(parents=True)
    (proc / PID / "comm").write_text("testpmd\n")
    (proc / PID / "fd/7").symlink_to(path)
    (proc / "self").mkdir()


def test_nobody(filled: nodes.Node) -> None:
    assert [vf.user for vf in filled.pf().vfs] == [None] * 4


def test_the_kubelet_has_given_it_to_a_pod(filled: nodes.Node) -> None:
    filled.pods[filled.pf().vfs[0].pci] = "default/web-0"
    assert user(filled) == "pod default/web-0"


def test_the_ledger_knows_its_owner(filled: nodes.Node) -> None:
    """A record of another device, which had that address before, is none."""
    pci = filled.pf().vfs[0].pci
    owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns="")
    birth = filled.machine.node.tree.birth(pci)
    for device, expected in ((0, "container c1 as net1"), (birth, "container c1 as net1"), (birth + 1, None)):
        filled.book.write(
            ledger.Record(
                pci=pci, owner=owner, netns=(0, 0), home=None, wanted=settings.BASELINE, mtu=1500, device=device
            )
        )
        assert user(filled) == expected


def test_a_damaged_record_is_somebodys(filled: nodes.Node, tmp_path: pathlib.Path) -> None:
    (tmp_path / "run/vfs" / f"{filled.pf().vfs[0].pci}.json").write_text("{")
    assert user(filled) == "an unknown container"


def test_its_netdev_is_in_another_namespace(filled: nodes.Node) -> None:
    vf = filled.pf().vfs[0]
    with filled.machine.node.kernel() as net, filled.world.namespace("pod") as pod:
        assert vf.netdev is not None
        net.move(net.link(vf.netdev).index, pod, "net1")
    assert user(filled) == "another network namespace (driver igbvf, no netdev in the host)"


def test_a_vf_whose_driver_has_brought_no_netdev_is_nobodys_and_the_plan_says_so(filled: nodes.Node) -> None:
    """In a pod it has one, which sysfs shows by an empty folder."""
    filled.world.node.set_bare(filled.pf().vfs[0].pci)
    assert [vf.user for vf in filled.pf().vfs] == [None] * 4
    planned = filled.plan("policies:\n- selector: {pfNames: [eth1]}\n  numVfs: 4\n")
    assert planned.notes == ("eth1#0 has no netdev: its driver igbvf has brought none, see the kernel's log",)
    assert filled.plan("policies:\n- selector: {pfNames: [eth1]}\n  numVfs: 2\n").refusals == ()


def test_a_vfio_variant_is_told_by_its_folder(filled: nodes.Node, tmp_path: pathlib.Path) -> None:
    pci = filled.pf().vfs[0].pci
    filled.world.unbind(pci)
    filled.world.node.set_vfio(pci, "mlx5_vfio_pci", "vfio3")
    assert user(filled) is None
    opens(tmp_path / "proc", "/dev/vfio/devices/vfio3")
    assert user(filled) == f"process {PID} (testpmd)"


def test_a_vf_without_a_driver_is_nobodys(filled: nodes.Node) -> None:
    filled.world.unbind(filled.pf().vfs[0].pci)
    assert user(filled) is None


def test_the_host_has_an_address_on_it(filled: nodes.Node, tmp_path: pathlib.Path) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    row = "eth1v0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    (tmp_path / "proc/net/route").write_text(row)
    assert user(filled) == "the host: eth1v0 has an address of the host"


def test_it_is_a_port_of_a_bond(filled: nodes.Node) -> None:
    filled.world.node.set_master(filled.pf().vfs[0].pci, "eth1v0", "bond0")
    assert user(filled) == "the host: eth1v0 is a port of bond0"


def test_a_process_has_its_vfio_group_open(filled: nodes.Node, tmp_path: pathlib.Path) -> None:
    for index in (0, 1):
        pci = filled.pf().vfs[index].pci
        filled.world.unbind(pci)
        filled.world.node.set_driver(pci, "vfio-pci")
        filled.world.node.set_iommu_group(pci, 12 + index)
    assert user(filled) is None
    opens(tmp_path / "proc", "/dev/vfio/12")
    assert (user(filled, 0), user(filled, 1)) == (f"process {PID} (testpmd)", None)


def test_a_process_has_its_own_device_node_open(filled: nodes.Node, tmp_path: pathlib.Path) -> None:
    """VFIO's newer interface, and uio; a container may have the node elsewhere."""
    first, second = (filled.pf().vfs[index].pci for index in (0, 1))
    for pci, driver in ((first, "vfio-pci"), (second, "igb_uio")):
        filled.world.unbind(pci)
        filled.world.node.set_driver(pci, driver)
    (filled.machine.node.tree.pci(first) / "vfio-dev/vfio3").mkdir(parents=True)
    filled.world.node.set_uio(second, "uio5")
    opens(tmp_path / "proc", "/rootfs/dev/vfio/devices/vfio3")
    (tmp_path / "proc" / PID / "fd/8").symlink_to("/dev/uio5")
    assert [user(filled, index) for index in (0, 1)] == [f"process {PID} (testpmd)"] * 2


def test_other_open_files_are_nothing(tmp_path: pathlib.Path) -> None:
    opens(tmp_path / "proc", "/dev/vfio/vfio")
    assert vf_use.opened(tmp_path / "proc") == {}
    assert vf_use.opened(tmp_path / "nowhere") == {}
