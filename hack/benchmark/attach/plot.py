"""Plot of `hack/bench attach`: for ADD and DEL every contender's spread, and the kernel's own cost as a line."""

import pathlib
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from hack.benchmark import figures
from hack.benchmark.attach import contest, report

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 1200, 330, 60, 44, 70
_INK, _GREY, _PALE, _OURS, _THEIRS, _FLOOR = "#222222", "#777777", "#e4e4e4", "#1f77b4", "#d98c3f", "#c02020"
_ROWS = tuple(key for key in report.NAMES if key != "floor")
_STEPS = (5, 10, 20, 50, 100, 200, 500)
_TICKS = 10  # at most


def draw(taken: contest.Taken, path: pathlib.Path) -> None:
    """Draw a PNG at `path`. A bar from the least to p90, a stroke and a number at p50, a point at p99."""
    panel = _TOP + _ROW * len(_ROWS) + 50
    image = Image.new("RGB", (_WIDTH, 2 * panel + 40), "white")
    for number, verb in enumerate(("add", "del")):
        _Panel(ImageDraw.Draw(image), taken, verb, number * panel).draw()
    rounds = len(taken.costs["floor_add"])
    says = f"bar: least to p90; stroke and number: p50; point: p99; {rounds} rounds, all in one run, host-local as IPAM"
    ImageDraw.Draw(image).text((_LEFT, 2 * panel + 8), says, _GREY, _font(16))
    image.save(path, "PNG")


class _Panel:
    """One verb, from `top` downwards."""

    def __init__(self, canvas: ImageDraw.ImageDraw, taken: contest.Taken, verb: str, top: int) -> None:
        self._canvas, self._verb, self._top = canvas, verb, top
        self._costs = {key: taken.costs[f"{key}_{verb}"] for key in report.NAMES}
        self._most = max(figures.percentile(values, 0.99) for values in self._costs.values()) * 1.05

    def draw(self) -> None:
        bottom = self._top + _TOP + _ROW * len(_ROWS)
        self._canvas.text((_LEFT, self._top + 12), f"{self._verb.upper()}, milliseconds", _INK, _font(22))
        step = next((each for each in _STEPS if self._most / each <= _TICKS), 1000)
        for value in range(0, int(self._most) + 1, step):
            self._canvas.line([(self._x(value), self._top + _TOP), (self._x(value), bottom)], _PALE)
            self._canvas.text((self._x(value), bottom + 6), str(value), _GREY, _font(16), anchor="ma")
        for number, key in enumerate(_ROWS):
            self._row(report.NAMES[key], self._costs[key], self._top + _TOP + number * _ROW)
        floor = figures.percentile(self._costs["floor"], 0.5)
        self._canvas.line([(self._x(floor), self._top + _TOP - 8), (self._x(floor), bottom)], _FLOOR, 2)
        label = f"{report.NAMES['floor']}: {floor:.1f}"
        self._canvas.text((self._x(floor), self._top + _TOP - 10), label, _FLOOR, _font(16), anchor="md")

    def _row(self, name: str, values: Sequence[float], top: int) -> None:
        middle, colour = top + _ROW // 2, _THEIRS if name.startswith("host-device") else _OURS
        p50, p90, p99 = (figures.percentile(values, share) for share in report.SHARES.values())
        self._canvas.text((_LEFT - 12, middle), f"{name}   {p50:.1f}", _INK, _font(18), anchor="rm")
        self._canvas.rectangle([(self._x(min(values)), top + 10), (self._x(p90), top + _ROW - 10)], colour)
        self._canvas.line([(self._x(p50), top + 5), (self._x(p50), top + _ROW - 5)], _INK, 3)
        self._canvas.ellipse([(self._x(p99) - 4, middle - 4), (self._x(p99) + 4, middle + 4)], colour)

    def _x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / self._most


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow, so that every machine draws the same."""
    return ImageFont.load_default(size)
