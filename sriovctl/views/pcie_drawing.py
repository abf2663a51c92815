"""PCIe tree as an SVG: one line for each branch, indented, coloured by kind. No script, no external font. Pure."""

import html
from collections.abc import Iterator

from sriovctl.views import pcie_tree

_STEP, _LINE, _MARGIN = 26, 24, 16  # pixels
_LETTER = 7.3  # pixels a letter of 12 px monospace takes
_COLOURS = {
    "root": "#5b6770",
    "bridge": "#8a949c",
    "pf": "#1f6feb",
    "nic": "#57606a",
    "vf": "#3fa2c9",
    "gpu": "#4f8a10",
    "pod": "#b4540a",
}

_Placed = tuple[pcie_tree.Branch, int, int]


def svg(branches: tuple[pcie_tree.Branch, ...]) -> str:
    """Return a whole document."""
    placed = list(_placed(branches, 0))
    width = max((_MARGIN * 3 + depth * _STEP + len(each.label) * _LETTER for each, depth, _ in placed), default=200)
    height = _MARGIN * 2 + len(placed) * _LINE
    shapes = "\n".join(shape for row in range(len(placed)) for shape in _shapes(placed, row))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'font-family="ui-monospace, monospace" font-size="12">\n'
        f'<title>PCIe topology</title>\n<rect width="100%" height="100%" fill="#ffffff"/>\n{shapes}\n</svg>\n'
    )


def _placed(
    branches: tuple[pcie_tree.Branch, ...], depth: int, parent: int = -1
) -> Iterator[tuple[pcie_tree.Branch, int, int]]:
    """Yield each branch with its depth, and how many rows its parent is above it; 0 for a root."""
    offset = 1
    for branch in branches:
        yield branch, depth, offset if parent >= 0 else 0
        inner = list(_placed(branch.below, depth + 1, 0))
        yield from inner
        offset += 1 + len(inner)


def _shapes(placed: list[_Placed], row: int) -> Iterator[str]:
    branch, depth, up = placed[row]
    left, middle = _MARGIN + depth * _STEP, _MARGIN + row * _LINE + _LINE // 2
    if up:
        yield (
            f'<path d="M{left - _STEP + 6} {middle - up * _LINE + 6} V{middle} H{left}" fill="none" stroke="#c4cbd1"/>'
        )
    yield f'<circle cx="{left + 6}" cy="{middle}" r="5" fill="{_COLOURS[branch.kind]}"/>'
    yield f'<text x="{left + 18}" y="{middle + 4}" fill="#24292f">{html.escape(branch.label, quote=False)}</text>'
