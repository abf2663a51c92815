"""What the pages let their readers type: the lines of console blocks, and commands between backticks in the prose.

A word that names a program says what it is called; a program with arguments is to be typed.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
PROGRAMS = (
    *("sriovctl", "sriov-underlay", "sriov-device-plugin", "sriov-cni-daemon", "python", "python3", "pip"),
    *(
        "kubectl",
        "helm",
        "podman",
        "systemctl",
        "udevadm",
        "networkctl",
        "nmcli",
        "ip",
        "devlink",
        "curl",
        "kill",
        "pkill",
    ),
    *("echo", "eval", "cp", "promtool"),
)
NAMED = {
    *("python -m deviceplugin", "python -m sriov_cni", "python3 -IS -c pass", "hack/lab run --netdevsim"),
    *("sriovctl provision", "sriovctl explain", "sriovctl attachments release", "devlink dev info", "ip link show"),
}
"""In the prose they are what something is called, and nobody is told to type them."""
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROMPT = re.compile(r"(?:#|\$|lab#) (.*)")
_TYPED = re.compile(rf"`((?:\./)?(?:hack/[\w-]+|{'|'.join(PROGRAMS)})\s[^`]+)`")


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """`printed` is what the page shows below the command."""

    page: str
    command: str
    printed: str = ""


def examples(page: str) -> list[Example]:
    """In the order of the page, those of its blocks first."""
    text = (ROOT / page).read_text()
    blocks = [text for language, text in _BLOCK.findall(text) if language == "console"]
    prose = [" ".join(found.split()) for found in _TYPED.findall(_BLOCK.sub("", text))]
    typed = [each for block in blocks for each in _typed(page, block)]
    return [*typed, *(Example(page, each) for each in prose if each not in NAMED)]


def _typed(page: str, block: str) -> Iterator[Example]:
    """What is said of a command stands behind two spaces."""
    command, printed = "", ""
    for line in block.splitlines():
        if found := _PROMPT.match(line):
            if command:
                yield Example(page, command, printed)
            command, printed = re.split(r" {2,}", found[1])[0], ""
        else:
            printed += f"{line}\n"
    yield Example(page, command, printed)


def paragraph(page: str, command: str) -> str:
    """Where the page says it, or what follows the block in which it stands."""
    parts = re.split(r"\n\n+", (ROOT / page).read_text())
    for number, part in enumerate(parts):
        if command in " ".join(part.split()):
            return " ".join(" ".join(parts[number : number + 1 + part.startswith("```")]).split())
    raise LookupError(f"{page} has no {command!r}")
