"""A node on which the lines of the pages are typed as they stand there: same paths, same programs, nothing translated.

It is this machine with namespaces of its own: /etc, /opt, /run and /var are this machine's below an overlay in memory,
/sys is a built tree, and links are veths. So what a line writes is gone with the node. No systemd runs on it: units are
enabled and not started (tests/lab/installing starts them).
"""

import contextlib
import dataclasses
import os
import pathlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator

from tests.fakes import mock_node
from tests.kernel import namespaces

PROJECT = pathlib.Path(__file__).parents[2]
CONTROL = pathlib.Path("kubelet.sock")
"""The stand-in kubelet's, in the reader's folder."""
_OVERLAID = ("etc", "opt", "run", "var")
_FOREIGN = ("/run/systemd", "/run/sriov", "/etc/pcidp", "/etc/sriov-underlay", "/opt/sriov-underlay", "/opt/cni")
"""What this machine may have of that, and the node has not."""
_MOUNTED = "hosts resolv.conf"
"""Files of /etc that are mounts of their own in a container, which an overlay does not show."""
_PROGRAMS = "/opt/sriov-underlay/bin"
_KUBELET = f"{sys.executable} -P -m tests.fakes.kubelet --dir /var/lib/kubelet --control {CONTROL}"


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """How it ended, and what it printed, errors too."""

    status: int
    said: str


class Node:
    """`pid` is the first process of its namespaces, `folder` where its reader is."""

    def __init__(self, pid: int, folder: pathlib.Path) -> None:
        self._pid, self.folder = pid, folder

    def types(self, line: str, *, online: bool = False) -> Ran:
        """At a prompt, so that no process but its own has the line among its arguments.

        `online`: in this machine's network, and not in the node's.
        """
        done = subprocess.run(
            self._shell(online),
            input=self._typed(line),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Ran(done.returncode, done.stdout)

    @contextlib.contextmanager
    def running(self, line: str) -> Iterator[pathlib.Path]:
        """A line that goes on, until SIGTERM; yields where what it says is written."""
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        with log.open("w") as told:
            process = subprocess.Popen(self._shell(), stdin=subprocess.PIPE, stdout=told, stderr=told, text=True)
        assert process.stdin is not None
        process.stdin.write(self._typed(f"exec {line}"))
        process.stdin.close()
        try:
            yield log
        finally:
            for child in _children(process.pid):
                os.kill(child, signal.SIGTERM)
            process.wait()

    def _shell(self, online: bool = False) -> list[str]:
        enter = ["nsenter", f"--target={self._pid}", "--mount", "--pid", *([] if online else ["--net"])]
        return [*enter, "bash"]

    def _typed(self, line: str) -> str:
        return f'cd {shlex.quote(str(self.folder))}; PATH="$PATH:{_PROGRAMS}"\n{line}\n'


def _children(pid: int) -> list[int]:
    return [int(each) for each in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def made(folder: pathlib.Path) -> Iterator[Node]:
    """A kubelet that is a stand-in, two PFs of four VFs each, and nothing of ours."""
    reader = folder / "reader"
    reader.mkdir()
    with contextlib.closing(mock_node.MockNode(folder, vfs=4)) as mock:
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private"]
        script = f"{_mounts(folder)}\nexec sleep infinity"
        with subprocess.Popen(["nsenter", f"--net=/run/netns/{mock.name}", *command, "sh", "-ec", script]) as process:
            try:
                assert namespaces.until((folder / "made").exists)
                [pid] = _children(process.pid)
                node = Node(pid, reader)
                with node.running(f"env PYTHONPATH={PROJECT} {_KUBELET}"):
                    assert namespaces.until((reader / CONTROL).exists)
                    yield node
            finally:
                process.kill()


def _mounts(folder: pathlib.Path) -> str:
    """For a shell that ends where a line fails: nothing may be removed before there is something over it."""
    over = folder / "over"
    layers = [
        f"mkdir {over}/{name} {over}/{name}.work\n"
        f"mount -t overlay -o lowerdir=/{name},upperdir={over}/{name},workdir={over}/{name}.work {name} /{name}"
        for name in _OVERLAID
    ]
    return "\n".join(
        [
            f"mkdir {over}",
            f"mount -t tmpfs over {over}",
            f"for name in {_MOUNTED}; do [ ! -e /etc/$name ] || cp -L /etc/$name {over}; done",
            *layers,
            f"for name in {_MOUNTED}; do [ ! -e {over}/$name ] || cp --remove-destination {over}/$name /etc; done",
            f"mount --bind {folder}/sys /sys",
            f"rm -rf {' '.join(_FOREIGN)} /var/lib/kubelet",
            "mkdir -p /opt/cni/bin /var/lib/kubelet/device-plugins",
            "ip link set lo up",
            f"touch {folder}/made",
        ]
    )
