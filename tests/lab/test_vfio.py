"""A VF with the real vfio-pci: found with its IOMMU group, administered through its PF, opened, and a netdev again."""

import asyncio
import json
import pathlib
import subprocess

import pytest

from sriov import devices, errors, settings
from sriov.attachment import attach
from sriov.hardware import discovery
from tests.fakes import kubelet as fake
from tests.kernel import namespaces
from tests.lab import cnis, deviceplugins, drivers, igb, vfio

VF = 3
MAC = "02:00:00:00:27:01"


def test_the_device_plugin_finds_it_with_its_group_and_a_program_opens_it(tmp_path: pathlib.Path) -> None:
    pci = igb.vf(VF).pci
    group = f"/dev/vfio/{(igb.TREE.pci(pci) / 'iommu_group').resolve().name}"

    async def body(kubelet: fake.Kubelet) -> None:
        assert set(kubelet.resources[deviceplugins.POOL]) == {pci}
        envs = await kubelet.request(deviceplugins.POOL, [pci])
        info = json.loads(envs["PCIDEVICE_INTEL_COM_IGB_INFO"])
        assert info[pci]["vfio"] == {"dev-mount": group, "mount": "/dev/vfio/vfio"}
        assert await asyncio.to_thread(vfio.pci_ids, "/dev/vfio/vfio", group, pci) == (0x8086, 0x10CA)
        assert await asyncio.to_thread(namespaces.until, lambda: awake(pci) is False)

    with drivers.bound(pci, "vfio-pci"):
        deviceplugins.on_node(tmp_path, body, {"drivers": ["vfio-pci"]}, 1)


def awake(pci: devices.PciAddress) -> bool | None:
    """Whether somebody has it open, as the device plugin sees it."""
    one = discovery.scan(igb.TREE, pathlib.Path("/proc"), pathlib.Path("/dev")).candidates[pci]
    return one.vfio.is_open if one.vfio else None


def test_who_has_it_open_is_seen_without_opening_it() -> None:
    pci = igb.vf(VF).pci
    group = f"/dev/vfio/{(igb.TREE.pci(pci) / 'iommu_group').resolve().name}"
    with drivers.bound(pci, "vfio-pci"):
        assert namespaces.until(lambda: awake(pci) is False)
        with vfio.opened(group, pci):
            assert awake(pci) is True
        assert namespaces.until(lambda: awake(pci) is False)


def test_a_netdevs_folder_is_there_as_long_as_the_netdev_wherever_that_is() -> None:
    pci = igb.vf(VF).pci
    folder, name = igb.TREE.pci(pci) / "net", str(igb.TREE.netdev_name(pci))
    with namespaces.made("pod") as pod:
        subprocess.run(["ip", "link", "set", name, "netns", pod.name], check=True)
        assert list(folder.iterdir()) == []
        scanned = discovery.scan(igb.TREE, pathlib.Path("/proc"), pathlib.Path("/dev"))
        assert not scanned.candidates[pci].without_netdev
    assert namespaces.until(lambda: igb.TREE.netdev_name(pci) == name)
    with drivers.bound(pci, "vfio-pci"):
        assert not folder.exists()


def test_add_and_del_administer_it_through_its_pf_and_it_serves_as_a_netdev_again(tmp_path: pathlib.Path) -> None:
    pci = igb.vf(VF).pci
    with cnis.opened(tmp_path) as cni, namespaces.made("pod") as pod:
        with drivers.bound(pci, "vfio-pci"):
            before = igb.administered(VF)  # with the MAC that igbvf had said, which stays the VF's
            answer = cni.call("ADD", pci, pod, "c1", vlan=100, mac=MAC, ipam=None)
            assert answer.code == 0, answer
            assert [each["mac"] for each in answer.document["interfaces"]] == [MAC]
            assert set(cnis.links(pod)) == {"lo"}
            assert igb.administered(VF) == settings.VfSettings(mac=MAC, vlan=100)
            assert cni.call("CHECK", pci, pod, "c1", vlan=100, mac=MAC, ipam=None, prevResult=answer.document).code == 0
            cni.delete(pci, pod)
            assert igb.administered(VF) == before
            cni.assert_nothing_is_held()
        cni.add(pci, pod, vlan=101, mac=MAC)
        assert cnis.links(pod)["net1"].address == MAC
        cni.delete(pci, pod)
        cni.assert_nothing_is_held()


def test_f27_a_netdev_of_a_pod_is_bound_to_vfio_pci_before_its_del(tmp_path: pathlib.Path) -> None:
    pci = igb.vf(VF).pci
    with igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        attach.attach(here, book, igb.request(here, VF, settings.VfSettings(mac=MAC, vlan=100)), pod.handle)
        with drivers.bound(pci, "vfio-pci"):
            assert set(cnis.links(pod)) == {"lo"}
            with pytest.raises(errors.DriverError, match="has driver vfio-pci and no netdev"):
                igb.give_back(here, book, pci, pod.handle)
            assert igb.administered(VF).vlan == 0
        igb.give_back(here, book, pci, pod.handle)
        assert list(book.records()) == []
    assert igb.hand_out(tmp_path, VF) == f"02:00:00:00:ce:0{VF}"
