"""The guest is what the other tests of this folder take it for."""

from __future__ import annotations

import os
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


def test_files_written_here_do_not_reach_the_machine() -> None:
    """Its root is an overlay in memory; only LAB_OUT is shared."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    assert [kind for _, point, kind, *_ in mounts if point == "/"] == ["overlay"]
    assert [kind for _, point, kind, *_ in mounts if point == os.environ["LAB_OUT"]] == ["9p"]
