"""Commands in the pages: the lines of console blocks, and commands between backticks in the prose.

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
    *("kubectl", "helm", "podman", "systemctl", "udevadm", "networkctl", "nmcli", "ip", "devlink", "curl", "kill"),
    *("pkill", "crictl", "crio", "echo", "eval", "cp", "promtool"),
)
NAMED = {
    *(
        "python -m deviceplugin",
        "python -m sriov_cni",
        "python -m sriov_agent",
        "python -m sriov_dra",
        "python3 -IS -c pass",
        "hack/lab run --netdevsim",
    ),
    *(
        "sriovctl provision",
        "sriovctl explain",
        "sriovctl policy",
        "sriovctl attachments release",
        "devlink dev info",
        "ip link show",
    ),
    *("helm upgrade", "kubectl apply -k", "kubectl sriov", "kubectl sriov traffic", "kubectl sriov traffic NETWORK"),
}
"""In the prose they are what something is called, and nobody is told to type them."""
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROMPT = re.compile(r"(#|\$|lab#) (.*)")
_TYPED = re.compile(rf"`((?:\./)?(?:hack/[\w-]+|{'|'.join(PROGRAMS)})\s[^`]+)`")


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """`printed` is what the page shows below the command; `prompt` is #, $ or lab#, and nothing in the prose."""

    page: str
    command: str
    printed: str = ""
    prompt: str = ""


def text(page: str) -> str:
    return (ROOT / page).read_text()


def examples(page: str) -> list[Example]:
    """In the order of the page, those of its blocks first."""
    prose = [" ".join(found.split()) for found in _TYPED.findall(_BLOCK.sub("", text(page)))]
    typed = [each for block in blocks(page) for each in block]
    return [*typed, *(Example(page, each) for each in prose if each not in NAMED)]


def blocks(page: str) -> list[list[Example]]:
    """What each console block has."""
    return [list(_typed(page, block)) for language, block in _BLOCK.findall(text(page)) if language == "console"]


def _typed(page: str, block: str) -> Iterator[Example]:
    """What is said of a command stands behind two spaces."""
    prompt, command, printed = "", "", ""
    for line in block.splitlines():
        if found := _PROMPT.match(line):
            if command:
                yield Example(page, command, printed, prompt)
            prompt, command, printed = found[1], re.split(r" {2,}", found[2])[0], ""
        else:
            printed += f"{line}\n"
    yield Example(page, command, printed, prompt)


def files(page: str) -> dict[str, str]:
    """Those that it lets its reader write, by the name in the first line."""
    return dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", text(page), re.DOTALL))


def write(page: str, folder: pathlib.Path) -> None:
    for name, said in files(page).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(said)
