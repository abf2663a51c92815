"""A node's file system in a folder, and the installer on it: in this process, or in a child that dies on its way."""

import dataclasses
import os
import pathlib
import platform
import shutil
import sys
import types

from sriov.daemon import unix_sockets
from sriov_installer import __main__ as program
from sriov_installer import apply, artifacts, files, run_directory

PROGRAMS = "/opt/sriov-underlay/bin"
PROVISIONING = ("etc/udev/rules.d", "etc/systemd/network")
BIN = pathlib.Path("/opt/cni/bin")
CHANGING = (apply.__file__, files.__file__, run_directory.__file__)
"""Where the installer does something: all else only looks."""
PACKAGE = pathlib.Path(program.__file__).parent
NATIVE = b"\x7fELF and what follows"


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """`root` has the folders that a node has. All paths of the installer are below it."""

    root: pathlib.Path

    @property
    def shim(self) -> pathlib.Path:
        return self.root / "opt/cni/bin/sriov"

    @property
    def backup(self) -> pathlib.Path:
        return files.backup(self.shim)

    def run(self, command: str, *flags: str) -> int:
        return program.main(self.arguments(command, *flags))

    def arguments(self, command: str, *flags: str) -> list[str]:
        return [command, "--root", str(self.root), "--programs-dir", PROGRAMS, *flags]

    def dies_at(self, line: int, *arguments: str) -> bool:
        """The same in a child that is killed before the `line`-th line that may change files; whether it came there."""
        child = os.fork()
        if child == 0:
            os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
            _die_at(line)
            os._exit(self.run(*arguments))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -9), status
        return status == -9

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Every file, with mode and content."""
        return {
            str(path.relative_to(self.root)): (path.lstat().st_mode, path.read_bytes())
            for path in self.root.rglob("*")
            if not path.is_dir()
        }


def make(root: pathlib.Path) -> Node:
    for folder in ("opt/cni/bin", "usr/bin", "etc/systemd/system", *PROVISIONING, PROGRAMS[1:]):
        (root / folder).mkdir(parents=True)
    (root / "usr/bin/python3").write_text("an interpreter")
    for name in (*artifacts.PROGRAMS, artifacts.PROVISIONER, artifacts.AGENT_PROGRAM):
        (root / PROGRAMS[1:] / name).write_text("a program")
    (root / "etc/passwd").write_text(
        f"root:x:0:0:root:/root:/bin/sh\nagent:x:{unix_sockets.AGENT_UID}:1::/:/bin/false\n"
    )
    (root / "opt/cni/bin/host-local").write_text("somebody's plugin")
    return Node(root)


def package_with_native_shim(folder: pathlib.Path) -> pathlib.Path:
    """What a wheel with native shims unpacks to, as far as shims go."""
    folder.mkdir()
    shutil.copy(PACKAGE.parent / "sriov_cni/shim/shim.py", folder)
    (folder / f"shim-{platform.machine()}").write_bytes(NATIVE)
    return folder


def _die_at(line: int) -> None:
    seen = 0

    def trace(frame: types.FrameType, event: str, _: object) -> object:
        nonlocal seen
        if frame.f_code.co_filename not in CHANGING:
            return None
        if event == "line":
            seen += 1
            if seen == line:
                os.kill(os.getpid(), 9)
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
