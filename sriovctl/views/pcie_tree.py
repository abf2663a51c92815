"""PCIe tree of the node: roots, bridges, PFs with their VFs and pods, GPUs. Pure."""

from collections.abc import Iterator, Mapping

import msgspec

from sriovctl.node import pcie
from sriovctl.views import documents


class Branch(msgspec.Struct, frozen=True):
    """A branch. `kind` is root, bridge, pf, vf, nic, gpu or pod; `label` is what is shown, `key` is its identity."""

    kind: str
    key: str
    label: str
    below: tuple["Branch", ...] = ()


def grow(functions: Mapping[str, pcie.Function], rows: list[documents.InventoryItem]) -> tuple[Branch, ...]:
    """Return one branch for each host bridge. VFs are below their PF, though on the bus they are beside it."""
    vfs = {row.device for row in rows if row.role == "VF"}
    ends = [one for one in functions.values() if one.is_gpu or (one.is_nic and one.pci not in vfs)]
    roots = dict.fromkeys(one.path[0] for one in ends if one.path)
    return tuple(Branch("root", root, _root_label(root, ends), tuple(_below(rows, ends, (root,)))) for root in roots)


def _below(
    rows: list[documents.InventoryItem],
    ends: list[pcie.Function],
    path: tuple[str, ...],
) -> Iterator[Branch]:
    depth = len(path)
    here = [one for one in ends if one.path[:depth] == path]
    for bridge in dict.fromkeys(one.path[depth] for one in here if len(one.path) > depth):
        yield Branch("bridge", bridge, f"bridge {bridge}", tuple(_below(rows, ends, (*path, bridge))))
    for one in here:
        if len(one.path) == depth:
            yield _end(rows, ends, one)


def _end(
    rows: list[documents.InventoryItem],
    ends: list[pcie.Function],
    one: pcie.Function,
) -> Branch:
    if one.is_gpu:
        return Branch("gpu", one.pci, f"GPU {one.pci}{_node(one)} {one.vendor}:{one.device}".replace("0x", ""))
    row = next((each for each in rows if each.device == one.pci), None)
    name = f" {row.netdev}" if row and row.netdev else ""
    near = [f"{pcie.distance(one, gpu)} to GPU {gpu.pci}" for gpu in ends if gpu.is_gpu]
    what = "PF" if row and row.role == "PF" else "NIC"
    label = ", ".join([f"{what} {one.pci}{name}{_node(one)} {one.driver or 'no driver'}", *near])
    vfs = [
        each for each in rows if each.role == "VF" and row and row.role == "PF" and each.pf in (row.netdev, row.device)
    ]
    return Branch(what.lower(), one.pci, label, tuple(_vf(each) for each in vfs))


def _vf(row: documents.InventoryItem) -> Branch:
    pod = () if row.owner is None else (Branch("pod", str(row.owner), f"pod {row.owner}"),)
    pool = f" {row.pool}" if row.pool else ""
    return Branch("vf", row.device, f"VF {row.index} {row.device}{pool}", pod)


def _root_label(root: str, ends: list[pcie.Function]) -> str:
    nodes = sorted({one.numa_node for one in ends if one.path[:1] == (root,) and one.numa_node is not None})
    return f"root {root}" + (f", NUMA node {', '.join(map(str, nodes))}" if nodes else "")


def _node(one: pcie.Function) -> str:
    return "" if one.numa_node is None else f" NUMA {one.numa_node}"


def text(branches: tuple[Branch, ...]) -> str:
    """Draw the tree with the lines that `tree` draws."""
    return "".join(line + "\n" for branch in branches for line in _lines(branch, "", ""))


def _lines(branch: Branch, first: str, rest: str) -> Iterator[str]:
    yield first + branch.label
    for number, each in enumerate(branch.below):
        last = number == len(branch.below) - 1
        yield from _lines(each, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def item(branch: Branch) -> documents.TopologyItem:
    """Return the item for programs."""
    return documents.TopologyItem(branch.kind, branch.key, branch.label, [item(each) for each in branch.below])
