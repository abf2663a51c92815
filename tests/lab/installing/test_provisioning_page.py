"""docs/provisioning.md on a node with real VFs and a real systemd: what is typed there makes those that its file wants.

The PFs have the names of the page meanwhile.
"""

import contextlib
import pathlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from sriov import devices
from tests import artefacts
from tests.examples import pages, table
from tests.lab import igb
from tests.lab.installing import nodes

FILE = pathlib.Path("/etc/sriov-underlay/provision.yaml")
RULES = pathlib.Path("/etc/udev/rules.d")
DROP_IN = pathlib.Path("/etc/systemd/system/sriov-device-plugin.service.d")
WRITABLE = "/srv"
PFS = {igb.PF1: "eth2", igb.PF0: "eth1"}


class Administrator:
    """At a prompt of the node, in a folder with the page's file, with our programs on the PATH."""

    def __init__(self, node: nodes.Node, folder: pathlib.Path) -> None:
        self._node, self._folder = node, folder
        page = pages.text("docs/provisioning.md")
        [text] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
        (folder / FILE.name).write_text(text)
        editor = folder / "editor"
        editor.write_text(
            f"#!/bin/sh\nfor file; do :; done; exec sed -i '3i [Service]\\nReadWritePaths={WRITABLE}' \"$file\"\n"
        )
        editor.chmod(0o755)

    def types(self, line: str) -> str:
        programs = artefacts.INSTALLED / artefacts.VERSION / "bin"
        where = f"cd {self._folder}; export PATH=$PATH:{programs} SYSTEMD_EDITOR={self._folder}/editor TERM=dumb"
        done = self._node.systemd.run("sh", "-c", f"{where}; {line}")
        assert done.returncode == 0, (line, done.stdout, done.stderr, self._node.systemd.journal())
        return done.stdout

    def types_and_says_yes(self, line: str) -> str:
        """What asks at a terminal has one."""
        return self.types(f"echo y | script --quiet --return --command {shlex.quote(line)} /dev/null")


@pytest.fixture
def administrator(without_vfs: nodes.Node, tmp_path: pathlib.Path) -> Iterator[Administrator]:
    """On a node that has udev's folder, as nodes have."""
    folder = tmp_path / "administrator"
    folder.mkdir()
    RULES.mkdir(parents=True, exist_ok=True)
    with named():
        yield Administrator(without_vfs, folder)
    without_vfs.succeeds(artefacts.VERSION, "uninstall")
    for made in (FILE.parent, DROP_IN):
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def named() -> Iterator[None]:
    """The PFs as the page calls them. A new VF gets the first name that is free, which may have been a PF's."""
    before = {pci: igb.TREE.netdev_name(pci) for pci in PFS}
    try:
        for pci, name in PFS.items():
            rename(pci, name)
        yield
    finally:
        for pci in PFS:
            (igb.TREE.pci(pci) / "sriov_numvfs").write_text("0")
        for pci in reversed(PFS):
            rename(pci, str(before[pci]))


def rename(pci: devices.PciAddress, name: str) -> None:
    """The kernel renames only what is down."""
    present = str(igb.TREE.netdev_name(pci))
    if present != name:
        for change in (["down"], ["name", name]):
            subprocess.run(["ip", "link", "set", present, *change], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)


def vfs() -> list[tuple[str, int]]:
    """Address and MTU of each VF's netdev, in order of PF and VF."""
    found = [igb.TREE.netdev(igb.vf(index, pf).pci) for pf in (igb.PF0, igb.PF1) for index in range(7)]
    return [(netdev.address, netdev.mtu) for netdev in found if netdev is not None]


def test_vfs_by_the_page(administrator: Administrator) -> None:
    examples = table.run_by(__file__, "test_vfs_by_the_page")
    readme, looking, plan, apply, copy, install, start, edit = examples
    assert readme.command == apply.command
    asked_for = [(f"02:00:00:00:01:{number:02x}", 9000) for number in range(14)]
    administrator.types(copy.command)
    shown, rest = plan.printed.split("…\n")[0], administrator.types(plan.command)
    assert normal(rest).startswith(normal(shown)), rest
    administrator.types_and_says_yes(apply.command)
    assert vfs() == asked_for
    (igb.TREE.pci(igb.PF1) / "sriov_numvfs").write_text("0")
    administrator.types(install.command)
    administrator.types(start.command)
    assert vfs() == asked_for
    assert administrator.types(looking.command.replace("PF", "eth1")).count("    vf ") == 7
    administrator.types_and_says_yes(edit.command)
    unit = edit.command.split()[-1]
    paths = administrator.types(f"systemctl show --property=ReadWritePaths --value {unit}")
    assert paths.split() == ["/var/lib/kubelet", WRITABLE]


def normal(text: str) -> str:
    """Without the spaces at the ends of lines, which columns of other rows make."""
    return "\n".join(line.rstrip() for line in text.splitlines())
