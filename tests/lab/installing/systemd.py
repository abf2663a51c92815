"""A real systemd as the guest's second init: first process of a PID namespace, with mounts and a cgroup of its own.

/run is the guest's, so that shims reach its sockets, and pods' namespaces are seen on both sides. It starts no more of
Debian's units than the journal, since others would tidy up a running guest.
"""

import contextlib
import dataclasses
import pathlib
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from tests.kernel import namespaces

PROGRAM = pathlib.Path("/lib/systemd/systemd")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CGROUP = pathlib.Path("/sys/fs/cgroup/systemd")
_MASKED = pathlib.Path("/run/systemd/system")
_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Systemd:
    """`pid` is its own, as the guest counts."""

    pid: int

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command of the node's administrator."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--cgroup", "--wd=/"]
        return subprocess.run(
            [*enter, "--", *command], env={"PATH": _PATH}, cwd="/", capture_output=True, text=True, check=False
        )

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "--lines=60", "--output=short-monotonic").stdout


@contextlib.contextmanager
def booted(hidden: Sequence[pathlib.Path]) -> Iterator[Systemd]:
    """Of the folders `hidden` it sees nothing."""
    there = _run_entries()
    _mask()
    _CGROUP.mkdir()
    process = subprocess.Popen(_command(hidden), env={"PATH": _PATH, "container": "lab"}, cwd="/")
    try:
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        assert namespaces.until(lambda: children.read_text() != "", _SECONDS)
        made = Systemd(int(children.read_text()))
        assert namespaces.until(lambda: _is_up(made), _SECONDS), made.run("systemctl", "list-jobs").stdout
        yield made
    finally:
        process.kill()
        process.wait()
        assert namespaces.until(_no_cgroup_is_left)
        for path in _run_entries() - there:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _command(hidden: Sequence[pathlib.Path]) -> list[str]:
    masks = [f"mount -t tmpfs -o ro,size=4k hidden {shlex.quote(str(path))}" for path in hidden]
    inner = [
        *masks,
        "umount /sys/fs/cgroup",
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        f"exec {PROGRAM} --system --unit=sysinit.target",
    ]
    unshare = "exec unshare --fork --kill-child --pid --mount-proc --cgroup --uts --propagation slave"
    outer = f"echo $$ >{_CGROUP}/cgroup.procs; {unshare} sh -ec {shlex.quote('; '.join(inner))}"
    return ["sh", "-ec", outer]


def _mask() -> None:
    """Everything that sysinit.target wants, but the journal."""
    _MASKED.mkdir(parents=True, exist_ok=True)
    wants = [f"{target}.target.wants/*" for target in ("sysinit", "local-fs", "sockets", "timers")]
    for name in {path.name for pattern in wants for path in PROGRAM.parent.joinpath("system").glob(pattern)}:
        if "journald" not in name:
            (_MASKED / name).unlink(missing_ok=True)
            (_MASKED / name).symlink_to("/dev/null")


def _is_up(made: Systemd) -> bool:
    return made.run("systemctl", "is-active", "sysinit.target").stdout == "active\n"


def _run_entries() -> set[pathlib.Path]:
    """What is in /run, and in systemd's folder there. Named namespaces are iproute2's."""
    found = {*pathlib.Path("/run").iterdir(), *pathlib.Path("/run/systemd").glob("*")}
    return {path for path in found if path.name != "netns"}


def _no_cgroup_is_left() -> bool:
    for folder in sorted(_CGROUP.rglob("*/"), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
    with contextlib.suppress(OSError):
        _CGROUP.rmdir()
    return not _CGROUP.exists()
