"""F28: a NIC is unplugged while pods hold its VFs, and plugged in again. QEMU is told from inside the guest."""

import asyncio
import pathlib
from collections.abc import Iterator

import pytest

from sriov import devices, errors, settings
from sriov.attachment import attach
from tests.fakes import kubelet as fake
from tests.kernel import namespaces
from tests.lab import accidents, cnis, deviceplugins, igb, plugging

CARD = plugging.SECOND
VFS = tuple(map(devices.pci_address, ("0000:02:10.0", "0000:02:10.2")))


@pytest.fixture(autouse=True)
def plugged_in_again() -> Iterator[None]:
    yield
    CARD.plug()


def mac(index: int) -> str:
    return f"02:00:00:00:28:0{index}"


def hand_out(cni: cnis.Cni, pods: list[namespaces.Namespace]) -> None:
    for index, pod in enumerate(pods):
        cni.add(igb.vf(index, CARD.pf).pci, pod, f"c{index}", vlan=100 + index, mac=mac(index))
        assert cnis.links(pod)["net1"].address == mac(index)
        assert igb.administered(index, CARD.pf).vlan == 100 + index


def give_up(cni: cnis.Cni, pods: list[namespaces.Namespace]) -> None:
    """The pods' VFs are gone from them; their DEL comes twice, and for the last one after its namespace's end."""
    assert [set(cnis.links(pod)) for pod in pods] == [{"lo"}] * len(pods)
    for index, pod in enumerate([*pods[:-1], None]):
        for _ in range(2):
            cni.delete(VFS[index], pod, f"c{index}")
    cni.assert_nothing_is_held()


def give_back(cni: cnis.Cni, pods: list[namespaces.Namespace]) -> None:
    for index, pod in enumerate(pods):
        cni.delete(VFS[index], pod, f"c{index}")
        assert igb.administered(index, CARD.pf).vlan == 0
    cni.assert_nothing_is_held()


def test_f28_a_nic_is_unplugged_while_pods_hold_its_vfs_and_plugged_in_again(tmp_path: pathlib.Path) -> None:
    """The VFs leave pods, list and ledger; the same slots serve pods again, with no restart of anything."""

    async def body(kubelet: fake.Kubelet) -> None:
        with cnis.opened(tmp_path) as cni, namespaces.made("a") as a, namespaces.made("b") as b:
            await asyncio.to_thread(hand_out, cni, [a, b])
            await asyncio.to_thread(CARD.unplug)
            await kubelet.wait_until(lambda: kubelet.resources[deviceplugins.POOL] == {}, deviceplugins.FOLLOW)
            await asyncio.to_thread(give_up, cni, [a, b])
            await asyncio.to_thread(CARD.plug)
            assert {*VFS} < {*await deviceplugins.followed(kubelet, "plugged in again", 7)}
            await asyncio.to_thread(hand_out, cni, [a, b])
            await asyncio.to_thread(give_back, cni, [a, b])

    deviceplugins.on_node(tmp_path, body, {"rootDevices": [str(CARD.pf)]})


def test_f28_a_nic_is_unplugged_in_the_middle_of_an_add(tmp_path: pathlib.Path) -> None:
    """After the move, before the VF has its address: one error, and nothing is left in ledger or pod."""
    accident, wanted = accidents.Accident(3, CARD.unplug), settings.VfSettings(mac=mac(0), vlan=100)
    with igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        with pytest.raises(errors.SriovError):
            attach.attach(accident.on(here), book, igb.request(here, 0, wanted, CARD.pf), pod.handle)
        assert accident.happened
        assert list(book.records()) == []
        assert set(cnis.links(pod)) == {"lo"}


def test_f28_the_same_slot_has_another_nic_before_the_del(tmp_path: pathlib.Path) -> None:
    """What the DEL would restore was the former VF's: the new one keeps the name and address that it came with."""
    pci = igb.vf(0, CARD.pf).pci
    with igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        request = igb.request(here, 0, settings.VfSettings(vlan=100), CARD.pf)
        attach.attach(here, book, request, pod.handle)
        CARD.unplug()
        CARD.plug()
        new = igb.TREE.netdev(pci)
        igb.give_back(here, book, pci, pod.handle)
        assert new is not None
        assert igb.TREE.netdev(pci) == new
        assert list(book.records()) == []
