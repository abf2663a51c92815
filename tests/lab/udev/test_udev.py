"""F17: systemd-udevd renames VFs at the moment at which they come home, and has its own idea of their names."""

import contextlib
import itertools
import pathlib
import shutil

from sriov import devices, settings
from sriov.attachment import attach
from tests.examples import table
from tests.kernel import namespaces
from tests.lab import accidents, cnis, drivers, igb
from tests.lab.udev import udevd

VFS = (5, 6)
ROUNDS = 2
RULES = pathlib.Path(__file__).parents[3] / "deploy/udev/70-sriov-vfs.rules"


def named(udev: udevd.Udev) -> dict[devices.PciAddress, str]:
    """What udev calls the VFs by now."""
    names = {igb.vf(index).pci: f"udev{index}" for index in VFS}
    udev.names(names)
    for pci in names:
        udev.replay(pci)
    assert {pci: igb.TREE.netdev_name(pci) for pci in names} == names
    return names


def test_f17_vfs_come_home_under_the_name_that_udev_gave_them(udev: udevd.Udev, tmp_path: pathlib.Path) -> None:
    """By DEL and by the end of the pod's namespace, under which udev meets the pod's name in the host."""
    with contextlib.ExitStack() as stack:
        for index in VFS:
            stack.enter_context(igb.borrowed(index))
        names = named(udev)
        before = {pci: igb.TREE.netdev(pci) for pci in names}
        cni = stack.enter_context(cnis.opened(tmp_path))
        for number in range(ROUNDS):
            with namespaces.made("pod") as pod, namespaces.made("lost") as lost:
                for pci, each in zip(names, (pod, lost), strict=True):
                    cni.add(pci, each, each.name, vlan=100, mac=f"02:00:00:00:17:{number:02x}")
                udev.settle()
                assert [set(cnis.links(each)) for each in (pod, lost)] == [{"lo", "net1"}] * 2
                cni.delete(next(iter(names)), pod, pod.name)
            cni.delete([*names][1], None, lost.name)
            udev.settle()
            assert {pci: igb.TREE.netdev(pci) for pci in names} == before, number
            cni.assert_nothing_is_held()


def test_f17_a_vf_that_was_handed_out_before_udev_knew_it(udev: udevd.Udev, tmp_path: pathlib.Path) -> None:
    """udev is done with it after each of the requests that take it back: its name stays, and not the kernel's."""
    pci, wanted = igb.vf(VFS[0]).pci, settings.VfSettings(mac="02:00:00:00:17:aa", vlan=100)
    for number in itertools.count():
        with igb.borrowed(VFS[0]) as netdev, igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
            udev.names({})
            attach.attach(here, book, igb.request(here, VFS[0], wanted), pod.handle)
            udev.names({pci: "udev5"})
            accident = accidents.Accident(number, udev.settle, after=True)
            igb.give_back(accident.on(here), book, pci, pod.handle)
            udev.settle()
            assert igb.TREE.netdev_name(pci) == "udev5", number
            assert igb.administered(VFS[0]).vlan == 0
            assert netdev.name != "udev5"
        if not accident.happened:
            assert number > 2, "the detachment has hardly any requests: is it watched?"
            return


def test_f17_a_vf_is_handed_out_as_soon_as_it_is_there(udev: udevd.Udev, tmp_path: pathlib.Path) -> None:
    """udev hears of the new netdev while the ADD moves it; where it is too late, it gets its name at home."""
    pci = igb.vf(VFS[1]).pci
    udev.names({pci: "udev6"})
    with cnis.opened(tmp_path) as cni, namespaces.made("pod") as pod:
        drivers.unbind(pci)
        drivers.choose(pci, "")
        cni.add(pci, pod, vlan=100)
        udev.settle()
        assert set(cnis.links(pod)) == {"lo", "net1"}
        cni.delete(pci, pod)
        udev.settle()
        assert igb.TREE.netdev_name(pci) == "udev6"
        cni.assert_nothing_is_held()


def test_network_managers_keep_off_vfs_and_not_off_their_pf(udev: udevd.Udev) -> None:
    """By the property that NetworkManager asks for, and the one that our .network file matches.

    They are told of VFs that are there already as docs/provisioning.md says.
    """
    shutil.copy(RULES, "/run/udev/rules.d")
    udev.control("--reload")
    [example] = table.run_by(__file__, "test_network_managers_keep_off_vfs_and_not_off_their_pf")
    udev.tell(*example.command.split()[1:])
    udev.settle()
    for pci, expected in ((igb.vf(VFS[0]).pci, "1"), (igb.PF0, None)):
        found = udev.properties(pci)
        assert (found.get("NM_UNMANAGED"), found.get("SRIOV_VF")) == (expected, expected)
