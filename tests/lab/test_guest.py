"""The guest is what the other tests of this folder take it for."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.guest import nics

DEVICES = Path("/sys/bus/pci/devices")


def read(device: str, name: str) -> str:
    return (DEVICES / device / name).read_text().strip()


def vfs_of(pf: str) -> list[Path]:
    return [link.resolve() for link in sorted((DEVICES / pf).glob("virtfn*"))]


def test_it_says_that_it_is_the_guest() -> None:
    assert os.environ["SRIOV_LAB"] == "guest"


@pytest.mark.parametrize("pf", nics.PFS)
def test_a_pf_is_an_intel_82576_that_is_up(pf: str) -> None:
    assert (read(pf, "vendor"), read(pf, "device")) == ("0x8086", "0x10c9")
    [netdev] = (DEVICES / pf / "net").iterdir()
    assert int((netdev / "flags").read_text(), 16) & 1


@pytest.mark.parametrize("pf", nics.PFS)
def test_a_pf_has_seven_vfs_with_driver_and_netdev(pf: str) -> None:
    vfs = vfs_of(pf)
    assert len(vfs) == nics.VFS_PER_PF
    assert {(vf / "driver").resolve().name for vf in vfs} == {"igbvf"}
    assert {(vf / "device").read_text().strip() for vf in vfs} == {"0x10ca"}
    assert [len(list((vf / "net").iterdir())) for vf in vfs] == [1] * nics.VFS_PER_PF


def test_vfs_have_the_addresses_of_the_card() -> None:
    assert [vf.name for vf in vfs_of(nics.PFS[0])] == [
        *(f"0000:01:10.{function}" for function in (0, 2, 4, 6)),
        *(f"0000:01:11.{function}" for function in (0, 2, 4)),
    ]


@pytest.fixture
def vfio_pci() -> Iterator[Path]:
    """A VF that prefers vfio-pci, until the test is over."""
    vf = vfs_of(nics.PFS[0])[-1]
    subprocess.run(["modprobe", "vfio-pci"], check=True)
    yield choose_driver(vf, "vfio-pci")
    choose_driver(vf, "")


def choose_driver(vf: Path, name: str) -> Path:
    (vf / "driver_override").write_text(f"{name}\n")
    (vf / "driver" / "unbind").write_text(vf.name)
    Path("/sys/bus/pci/drivers_probe").write_text(vf.name)
    return vf


def test_vfio_pci_takes_a_vf_with_an_iommu_group_of_its_own(vfio_pci: Path) -> None:
    group = (vfio_pci / "iommu_group").resolve()
    assert (vfio_pci / "driver").resolve().name == "vfio-pci"
    assert [device.name for device in (group / "devices").iterdir()] == [vfio_pci.name]
    assert Path("/dev/vfio", group.name).exists()


def test_a_frame_from_one_cards_vf_reaches_the_other_cards() -> None:
    sender, receiver = (next((vfs_of(pf)[0] / "net").iterdir()).name for pf in nics.PFS)
    kind = 0x88B5  # IEEE 802 local experimental
    frame = b"\xff" * 6 + bytes.fromhex("020000000001") + kind.to_bytes(2) + b"across".ljust(46)
    for netdev in (sender, receiver):
        subprocess.run(["ip", "link", "set", netdev, "up"], check=True)
    with packets() as out, packets() as into:
        out.bind((sender, 0))
        into.bind((receiver, kind))
        assert arrives(out, into, frame)
    for netdev in (sender, receiver):
        subprocess.run(["ip", "link", "set", netdev, "down"], check=True)


def packets() -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


def arrives(out: socket.socket, into: socket.socket, frame: bytes) -> bool:
    """Sends until something comes: a VF has no carrier in its first second."""
    into.settimeout(0.5)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        out.send(frame)
        try:
            return into.recv(100).startswith(frame)
        except TimeoutError:
            continue
    return False


def test_files_written_here_do_not_reach_the_machine() -> None:
    """Its root is an overlay in memory; only LAB_OUT is shared."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    assert [kind for _, point, kind, *_ in mounts if point == "/"] == ["overlay"]
    assert [kind for _, point, kind, *_ in mounts if point == os.environ["LAB_OUT"]] == ["9p"]
