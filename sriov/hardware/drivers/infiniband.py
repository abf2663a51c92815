"""RDMA side of a device, read from its own folder in sysfs.

If RDMA is exclusive to namespaces (`rdma system set netns exclusive`), a device's RDMA names leave the host with its
netdev, but its character devices stay: so those count as RDMA too, and a restart while pods run loses nothing. Layout:
Documentation/ABI/stable/sysfs-class-infiniband; umad and issm are of ib_umad, ucm was removed in Linux 4.20.
"""

import pathlib
from collections.abc import Collection

import msgspec

from sriov.hardware import sysfs

_CLASSES = {"infiniband_verbs": "uverbs", "infiniband_mad": "umad", "infiniband_cm": "ucm"}


class Rdma(msgspec.Struct, frozen=True):
    """RDMA of one device. `devices` are RDMA devices as in `mlx5_2`, empty while a pod has them.

    `nodes` are names below /dev/infiniband. `pkey` is the first partition key of the first port; None if none can be
    read.
    """

    devices: tuple[str, ...]
    nodes: tuple[str, ...]
    pkey: int | None = None


def names(folder: pathlib.Path | str) -> tuple[str, ...]:
    """Return the RDMA devices of the PCI device in `folder` that this namespace has, as in `mlx5_2`."""
    return sysfs.names(f"{folder}/infiniband")


def nodes(folder: pathlib.Path | str) -> tuple[str, ...]:
    """Return the names of the PCI device's character devices, as in `uverbs3`, wherever its RDMA device is."""
    return tuple(node for name in _CLASSES for node in sysfs.names(f"{folder}/{name}"))


def read(folder: str, entries: Collection[str]) -> Rdma | None:
    """Read the RDMA side of a device; None if it has none. `entries` are the names in its folder."""
    if not any("infiniband" in entry or ".rdma." in entry for entry in entries):
        return None
    devices = names(folder) if "infiniband" in entries else ()
    found = tuple(node for name in _CLASSES if name in entries for node in sysfs.names(f"{folder}/{name}"))
    if not devices and not found and not any(".rdma." in entry for entry in entries):
        return None
    return Rdma(devices, found, _pkey(folder, devices))


def pkeys(folder: pathlib.Path | str) -> tuple[int, ...]:
    """Return the partition keys of the first port of each RDMA device in `folder`, without empty entries."""
    tables = [f"{folder}/infiniband/{name}/ports/1/pkeys" for name in names(folder)]
    found = [sysfs.integer(f"{table}/{place}") for table in tables for place in sysfs.names(table)]
    return tuple(dict.fromkeys(each for each in found if each))


def _pkey(folder: str, devices: tuple[str, ...]) -> int | None:
    if not devices:
        return None
    return sysfs.integer(f"{folder}/infiniband/{devices[0]}/ports/1/pkeys/0")
