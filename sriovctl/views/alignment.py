"""Alignment of GPUs and VFs: which free VFs a claim finds below a GPU's PCIe root, and where the root says too little.

A claim has a GPU and a VF aligned by the attribute `resource.kubernetes.io/pcieRoot`, which is the host bridge. Below
one host bridge there may be several switches: then the attribute is the same for VFs that are near and VFs that are
not. Pure.
"""

import collections
from collections.abc import Collection, Iterable, Iterator, Mapping

from sriov import layout
from sriov.pools import assignment
from sriovctl.node import pcie
from sriovctl.views import documents

_MOST = 8  # of what is listed in one line
_NEAR = ("PIX", "PXB")


def items(
    functions: Mapping[str, pcie.Function], rows: list[documents.InventoryItem], claimed: Collection[str]
) -> list[documents.AlignmentItem]:
    """Return one item for each GPU. `claimed` are devices that a claim has, also before its pod's ADD."""
    free = [each for each in rows if _is_free(each) and each.device not in claimed and each.device in functions]
    return [_item(gpu, free, functions) for gpu in functions.values() if gpu.is_gpu and gpu.path]


def _is_free(row: documents.InventoryItem) -> bool:
    return row.role == "VF" and bool(row.pool) and row.owner is None and row.health == assignment.Health.HEALTHY.value


def _item(
    gpu: pcie.Function, free: Iterable[documents.InventoryItem], functions: Mapping[str, pcie.Function]
) -> documents.AlignmentItem:
    same = [each for each in free if functions[each.device].path[:1] == gpu.path[:1]]
    near = [each for each in same if pcie.distance(gpu, functions[each.device]) in _NEAR]
    return documents.AlignmentItem(
        gpu.pci, gpu.path[0], _counted(same), _counted(near), len(near) not in (0, len(same))
    )


def _counted(found: Iterable[documents.InventoryItem]) -> dict[str, int]:
    return dict(sorted(collections.Counter(str(each.pool) for each in found).items()))


def text(found: list[documents.AlignmentItem]) -> str:
    return "".join(f"{line}\n" for each in found for line in _lines(each))


def _lines(one: documents.AlignmentItem) -> Iterator[str]:
    yield f"GPU {one.gpu} shares its PCIe root {one.pcie_root} with {_told(one.free_vfs)}"
    if one.coarse:
        yield (
            f"  pcieRoot is too coarse here: only {_told(one.near_vfs)} are reached without the host bridge."
            " Select the VF by the attribute pcieSwitch, too"
        )


def _told(counts: Mapping[str, int]) -> str:
    return layout.some([f"{count} of {name}" for name, count in counts.items()], _MOST) or "no free VF"
