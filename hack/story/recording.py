"""Recording of the demo's output: as a picture (.svg), or as a cast for asciinema's player (.cast, version 2).

Source: docs.asciinema.org, "asciicast v2".
"""

import io
import json
import pathlib
import time

import rich.text

from hack.pages import terminals


class Recording(io.StringIO):
    """A file that remembers what is written to it, and when."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._written: list[tuple[float, str]] = []

    def write(self, text: str) -> int:
        self._written.append((round(time.monotonic() - self._began, 3), text))
        return super().write(text)

    def save(self, path: pathlib.Path, command: str) -> None:
        """Save it in the form of the path's suffix. `command` is what a person types for this output."""
        text = self.getvalue()
        path.write_text(terminals.picture(command, text) if path.suffix == ".svg" else self._cast(command, text))

    def _cast(self, command: str, text: str) -> str:
        lines = rich.text.Text.from_ansi(text).plain.splitlines()
        header = {"version": 2, "width": max(map(len, lines)), "height": len(lines) + 1, "title": command}
        events = [[when, "o", text.replace("\n", "\r\n")] for when, text in self._written]
        return "".join(f"{json.dumps(each)}\n" for each in (header, *events))
