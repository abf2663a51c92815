"""PCI functions that matter to a pod's traffic: NICs, GPUs and accelerators, with the bridges above each.

Read from sysfs alone. A link's speed is what it can do (max_link_speed), since an idle link may be throttled.
"""

import pathlib
import struct
from collections.abc import Mapping

import msgspec

from sriov.hardware import pci, sysfs

# PCI Code and ID Assignment: display controllers that are no VGA, processing accelerators. A VGA is a GPU only if its
# vendor makes GPUs: on servers most of them belong to the management controller (ASPEED, Matrox).
GPU_CLASSES = ("0x0302", "0x0380", "0x12")
_VGA = "0x0300"
_MAKERS = frozenset({"0x10de", "0x1002"})  # NVIDIA, AMD
NIC_CLASS = "0x02"

_HEADER = 64  # bytes of configuration space that everybody may read
_EXTENDED = 0x100  # offset of PCIe's extended capabilities (PCIe base spec 7.6)
_ACS = 0x000D  # its ID (7.7.11)
_ACS_CONTROL = 6  # offset of its control register, 16 bits
_REDIRECT = 0x0004 | 0x0008  # P2P Request Redirect, P2P Completion Redirect


class Function(msgspec.Struct, frozen=True):
    """`path` are the host bridge (as in pci0000:00) and the bridges above, outermost first. `speed` is as sysfs has it,
    as in "16.0 GT/s PCIe". `redirects`: a bridge whose ACS sends traffic between its devices up to the root; None if
    this process may not read that."""

    pci: str
    pci_class: str
    vendor: str
    device: str
    driver: str | None
    numa_node: int | None
    path: tuple[str, ...]
    speed: str | None
    width: int | None
    redirects: bool | None = False

    @property
    def is_gpu(self) -> bool:
        return self.pci_class.startswith(GPU_CLASSES) or (self.pci_class.startswith(_VGA) and self.vendor in _MAKERS)

    @property
    def is_nic(self) -> bool:
        return self.pci_class.startswith(NIC_CLASS)


def read(tree: sysfs.Tree) -> Mapping[str, Function]:
    """Return NICs, GPUs, and the bridges above them, by PCI address in PCI order."""
    found = {name: _function(tree, name) for name in sysfs.names(tree.pci_devices)}
    wanted = {name: one for name, one in found.items() if one.is_gpu or one.is_nic}
    above = {bridge for one in wanted.values() for bridge in one.path}
    return {name: one for name, one in found.items() if name in wanted or name in above}


def common(one: Function, other: Function) -> tuple[str, ...]:
    """Return the bridges above both; only the host bridge if they meet there, nothing if they do not meet."""
    return pci.shared(one.path, other.path)


def distance(one: Function, other: Function) -> str:
    """Return the distance between the two, in the words of `nvidia-smi topo -m`: PIX, PXB, PHB, NODE, SYS.

    PIX: at most one bridge; PXB: several, but not the host bridge; PHB: a host bridge; NODE: several within a NUMA
    node; SYS: between NUMA nodes.
    """
    shared = common(one, other)
    if len(shared) > 1:
        return "PIX" if len(one.path) - len(shared) <= 1 and len(other.path) - len(shared) <= 1 else "PXB"
    if shared:
        return "PHB"
    return "NODE" if one.numa_node == other.numa_node else "SYS"


def redirects(config: bytes) -> bool | None:
    """Report whether ACS of this bridge redirects peer-to-peer traffic, by its configuration space. Pure.

    Without CAP_SYS_ADMIN only the first 64 bytes can be read (pci_read_config() in drivers/pci/pci-sysfs.c): None then.
    """
    if len(config) == _HEADER:
        return None
    offset = _EXTENDED
    while _EXTENDED <= offset <= len(config) - 8:
        (head,) = struct.unpack_from("<I", config, offset)
        if head & 0xFFFF == _ACS:
            (control,) = struct.unpack_from("<H", config, offset + _ACS_CONTROL)
            return bool(control & _REDIRECT)
        following = head >> 20
        if following <= offset:  # the last one, or a loop
            return False
        offset = following
    return False


def _function(tree: sysfs.Tree, name: str) -> Function:
    folder = tree.pci_devices / name
    pci_class = sysfs.text(folder / "class") or ""
    return Function(
        name,
        pci_class,
        sysfs.text(folder / "vendor") or "",
        sysfs.text(folder / "device") or "",
        sysfs.target(folder / "driver"),
        pci.numa_node(folder),
        pci.bridges(folder),
        sysfs.text(folder / "max_link_speed"),
        sysfs.integer(folder / "max_link_width"),
        pci_class.startswith("0x0604") and redirects(_bytes(folder / "config")),
    )


def _bytes(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
