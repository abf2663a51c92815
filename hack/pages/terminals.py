"""Pictures of a terminal with a program's output. The font is the reader's: rich's template fetches one."""

import html
import io
import re

import rich.console
import rich.terminal_theme
import rich.text

_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def picture(command: str, printed: str) -> str:
    """Return an SVG. `printed` may have a terminal's colours. The same text makes the same picture."""
    text = rich.text.Text.from_ansi(printed.rstrip())
    width = max(len(line) for line in text.plain.splitlines())
    console = rich.console.Console(record=True, width=width, file=io.StringIO(), highlight=False)
    console.print(text, soft_wrap=True)
    drawn = console.export_svg(title=command, theme=rich.terminal_theme.MONOKAI, unique_id="terminal")
    return _FONTS.sub("", drawn).replace("Fira Code, monospace", "monospace") + "\n"


def inventory(page: str) -> str:
    """Return `sriovctl inventory` as docs/sriovctl.md shows it, which a test compares with the real output."""
    [printed] = re.findall(r"```console\n# (?=sriovctl inventory\n)(.*?)```", page, re.DOTALL)
    command, _, rest = printed.partition("\n")
    heading, _, rows = rest.partition("\n")
    return picture(command, f"\033[1m{heading}\033[0m\n{rows}")


def words(drawn: str) -> str:
    """Return the text of a picture without any space, to find lines in it."""
    found = "".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))
    return re.sub(r"\s", "", html.unescape(found))
