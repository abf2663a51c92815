"""What pages let their readers type, and the files that they let them write."""

import pathlib
import re

from tests.deploy import rendering

TYPED = ("docs/install.md", "docs/quickstart.md", "README.md")
"""Pages of which every line that is typed is run."""
_PROGRAMS = ("crictl", "crio", "echo", "helm", "ip", "kubectl", "podman", "sriov-underlay", "sriovctl", "systemctl")


def text(page: str) -> str:
    return (rendering.ROOT / page).read_text()


def blocks(page: str, prompt: str) -> list[list[str]]:
    """Lines after `$ `, typed where one reaches the cluster, or `# `, typed by root on a node."""
    found = re.findall(r"^```console\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)
    return [
        [line.removeprefix(prompt) for line in block.splitlines()]
        for block in found
        if block.startswith(prompt)
    ]  # fmt: skip


def prose(page: str) -> list[str]:
    """Programs with arguments that are named outside of blocks."""
    outside = re.sub(r"^```.*?^```$", "", text(page), flags=re.DOTALL | re.MULTILINE)
    return re.findall(rf"`((?:(?:\./)?hack/\w+|{'|'.join(_PROGRAMS)}) [^`]+)`", outside)


def files(page: str) -> dict[str, str]:
    """By the name in the first line."""
    return dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", text(page), re.DOTALL))


def write(page: str, folder: pathlib.Path) -> None:
    for name, said in files(page).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(said)
