"""Plot of `hack/bench traffic`: a panel for each figure, in it a bar for each way, and its rounds as points."""

import pathlib

from PIL import Image, ImageDraw, ImageFont

from hack.benchmark.traffic import ways
from sriovctl.traffic import comparing

_WIDTH, _PANEL, _ROW, _LEFT, _TOP, _GAP = 1200, 600, 34, 190, 44, 22
_INK, _GREY = "#222222", "#777777"
_COLOURS = {"vf": "#1f77b4", "routed": "#d98c3f", "vxlan": "#9a5b9a"}
_COLUMNS = _WIDTH // _PANEL
_LEFT_OUT = "lost_percent"  # a condition of others


def draw(taken: comparing.Taken, path: pathlib.Path) -> None:
    """Draw a PNG at `path`."""
    lines = [line for line in comparing.lines(taken) if line.key != _LEFT_OUT]
    high = _TOP + _ROW * len(taken) + _GAP
    image = Image.new("RGB", (_WIDTH, -(-len(lines) // _COLUMNS) * high + 40), "white")
    canvas = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        _panel(canvas, taken, line, number % _COLUMNS * _PANEL, number // _COLUMNS * high)
    says = "bar and number: median; points: the rounds; all in one run, on emulated cards: order and work, not speed"
    canvas.text((_LEFT, image.height - 30), says, _GREY, _font(16))
    image.save(path, "PNG")


def _panel(canvas: ImageDraw.ImageDraw, taken: comparing.Taken, line: comparing.Line, left: int, top: int) -> None:
    better = "more" if line.key in comparing.MORE_IS_BETTER else "less"
    name = comparing.NAMES[line.key].replace("µs", "microseconds")  # the font has no µ
    canvas.text((left + 20, top + 12), f"{name} ({better} is better)", _INK, _font(18))
    most = max(max(each[line.key]) for each in taken.values())
    scale = (_PANEL - _LEFT - 90) / most
    for number, (way, value) in enumerate(zip(taken, line.values, strict=True)):
        row, start = top + _TOP + number * _ROW, left + _LEFT
        canvas.text((start - 10, row + _ROW // 2), ways.NAMES[way], _INK, _font(16), anchor="rm")
        canvas.rectangle([(start, row + 5), (start + value * scale, row + _ROW - 5)], _COLOURS[way])
        for each in taken[way][line.key]:
            place = start + each * scale
            canvas.ellipse([(place - 3, row + _ROW // 2 - 3), (place + 3, row + _ROW // 2 + 3)], _INK)
        end = start + max(taken[way][line.key]) * scale + 10
        canvas.text((end, row + _ROW // 2), comparing.number(value), _INK, _font(16), anchor="lm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow, so that every machine draws the same."""
    return ImageFont.load_default(size)
