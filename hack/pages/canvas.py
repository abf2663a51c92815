"""Canvas for boxes, arrows and words as SVG, with nothing in it that is fetched or that changes by itself."""

import html
from collections.abc import Sequence

_FILL = {"pod": "#dff1e4", "host": "#e6e6e6", "nic": "#dde8fb", "wire": "#fbeed6", "frame": "none"}
_RIM = ' fill="#fff" stroke="#fff" stroke-width="5" aria-hidden="true"'
_HEAD = (
    '<defs><marker id="head" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto-start-reverse">'
    '<path d="M0,0 L9,4 L0,8 z" fill="#333"/></marker></defs>'
)


class Canvas:
    """Coordinates are pixels from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._parts: list[str] = []

    def text(self, x: int, y: int, words: str, *, bold: bool = False, over: bool = False) -> None:
        """Write text; `over` gives it a rim of paper above lines: a second text, as not all have paint-order."""
        weight = ' font-weight="bold"' if bold else ""
        for how in (_RIM, weight) if over else (weight,):
            self._parts.append(f'<text x="{x}" y="{y}" text-anchor="middle"{how}>{html.escape(words)}</text>')

    def box(self, x: int, y: int, width: int, height: int, *lines: str, kind: str) -> None:
        place = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="6"'
        self._parts.append(f'<rect {place} fill="{_FILL[kind]}" stroke="#333"/>')
        first = y + height // 2 + 5 - 9 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width // 2, first + 18 * number, line)

    def arrow(self, x: int, y: int, to_x: int, to_y: int, *, both: bool = False) -> None:
        ends = ' marker-start="url(#head)"' if both else ""
        line = f'x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}"'
        self._parts.append(f'<line {line} stroke="#333" marker-end="url(#head)"{ends}/>')

    def lane(self, x: int, y: int, height: int) -> None:
        line = f'x1="{x}" y1="{y}" x2="{x}" y2="{y + height}"'
        self._parts.append(f'<line {line} stroke="#999" stroke-dasharray="4 4"/>')

    def svg(self, title: str) -> str:
        width, height = self._size
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'font-family="sans-serif" font-size="14" fill="#111"><title>{html.escape(title)}</title>'
        )
        paper = f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>'
        return "\n".join([opening, _HEAD, paper, *self._parts, "</svg>", ""])


def sequence(title: str, lanes: Sequence[str], messages: Sequence[tuple[int, int, str]]) -> str:
    """Draw messages between lanes, from top to bottom. A message of a lane to itself is written in the lane."""
    apart, row = 900 // len(lanes), 42
    drawing = Canvas(900, 80 + row * len(messages))
    middles = [apart // 2 + apart * number for number in range(len(lanes))]
    for middle, name in zip(middles, lanes, strict=True):
        drawing.box(middle - 75, 12, 150, 34, name, kind="nic")
        drawing.lane(middle, 46, 24 + row * len(messages))
    for number, (speaker, listener, words) in enumerate(messages, 1):
        y = 46 + row * number
        if speaker == listener:
            half = 4 * len(words)
            middle = min(max(middles[speaker], half + 8), 892 - half)
            drawing.box(middle - half, y - 20, 2 * half, 28, words, kind="host")
        else:
            half = 4 * len(words)
            middle = min(max((middles[speaker] + middles[listener]) // 2, half + 8), 892 - half)
            drawing.text(middle, y - 7, words, over=True)
            drawing.arrow(middles[speaker], y, middles[listener], y)
    return drawing.svg(title)
