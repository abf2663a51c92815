from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from hack.guest import initramfs

MODULES_DEP = """\
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz
kernel/fs/9p/9p.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/net/9p/9pnet.ko.xz
kernel/drivers/i2c/algos/i2c-algo-bit.ko.xz:
"""


def test_modules_are_loaded_after_what_they_need_and_once() -> None:
    assert initramfs.load_order(MODULES_DEP, ["9pnet_virtio", "9p"]) == [
        "kernel/net/9p/9pnet.ko.xz",
        "kernel/net/9p/9pnet_virtio.ko.xz",
        "kernel/fs/netfs/netfs.ko.xz",
        "kernel/fs/9p/9p.ko.xz",
    ]


def test_a_dash_in_a_modules_file_name_is_an_underscore_in_its_name() -> None:
    assert initramfs.load_order(MODULES_DEP, ["i2c_algo_bit"]) == ["kernel/drivers/i2c/algos/i2c-algo-bit.ko.xz"]


def test_a_built_in_module_needs_no_loading() -> None:
    assert initramfs.load_order(MODULES_DEP, ["virtio_pci"]) == []


@pytest.mark.parametrize("name", ["plain.ko", "packed.ko.xz"])
def test_modules_travel_unpacked(tmp_path: Path, name: str) -> None:
    body = b"\x7fELF"
    (tmp_path / name).write_bytes(lzma.compress(body) if name.endswith(".xz") else body)
    assert initramfs.unpacked(tmp_path / name) == body


def test_members_are_padded_to_four_bytes_as_the_kernel_expects() -> None:
    entry = initramfs.member("init", 0o100755, b"12345")
    assert entry.startswith(b"070701") and len(entry) % 4 == 0
    assert entry[54:62] == b"00000005"  # c_filesize
