"""The device plugin on real SR-IOV: what the kernel does to VFs, the kubelet hears of."""

import pathlib
import subprocess

from sriov import devices
from tests.fakes import kubelet as fake
from tests.lab import deviceplugins, igb

OF_PF0 = {"rootDevices": [str(igb.PF0)]}


def write(pci: devices.PciAddress, name: str, value: str) -> None:
    (igb.TREE.pci(pci) / name).write_text(value)


def bind(vf: devices.PciAddress) -> None:
    pathlib.Path("/sys/bus/pci/drivers_probe").write_text(vf)


def test_f26_numvfs_to_none_to_three_and_back(tmp_path: pathlib.Path) -> None:
    """No restart, one registration; a PF that has no VFs for a moment is not offered in their place."""

    async def body(kubelet: fake.Kubelet) -> None:
        try:
            for count in (0, 3):
                write(igb.PF0, "sriov_numvfs", str(count))
                listed = await deviceplugins.listed(kubelet, f"numvfs {count}", count)
                assert set(listed) == {f"0000:01:10.{2 * index}" for index in range(count)}
            await kubelet.request(deviceplugins.POOL, ["0000:01:10.4"])
        finally:
            write(igb.PF0, "sriov_numvfs", "0")
            write(igb.PF0, "sriov_numvfs", "7")
        await deviceplugins.followed(kubelet, "numvfs 7", 7)

    deviceplugins.on_node(tmp_path, body, OF_PF0)


def test_d28_pf_down_and_up(tmp_path: pathlib.Path) -> None:
    """Every VF unhealthy, and healthy again; none of them leaves the list."""
    netdev = igb.TREE.netdev_name(igb.PF0)
    assert netdev is not None

    async def body(kubelet: fake.Kubelet) -> None:
        try:
            subprocess.run(["ip", "link", "set", netdev, "down"], check=True)
            assert len(await deviceplugins.followed(kubelet, "PF down", 0)) == 7
        finally:
            subprocess.run(["ip", "link", "set", netdev, "up"], check=True)
        await deviceplugins.followed(kubelet, "PF up", 7)

    deviceplugins.on_node(tmp_path, body, OF_PF0)
    for index in range(7):
        assert igb.hand_out(tmp_path, index) == f"02:00:00:00:ce:0{index}", "a PF that was down serves each VF again"


def test_d29_a_vf_unbound_and_bound(tmp_path: pathlib.Path) -> None:
    vf = igb.vf(6).pci

    async def body(kubelet: fake.Kubelet) -> None:
        try:
            write(vf, "driver/unbind", vf)
            listed = await deviceplugins.followed(kubelet, "unbound", 6)
            assert [one for one, device in listed.items() if not device.healthy] == [vf]
        finally:
            bind(vf)
        await deviceplugins.followed(kubelet, "bound", 7)

    deviceplugins.on_node(tmp_path, body, OF_PF0)
