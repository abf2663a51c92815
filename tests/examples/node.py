"""A node on which the lines of the pages are typed as they stand there: same paths, same programs, nothing translated.

It is this machine with namespaces of its own: /etc, /opt, /run, /usr/local and /var are this machine's below an
overlay in memory, /sys is a built tree, and links are veths. So what a line writes is gone with the node. No systemd
runs on it: units are enabled and not started (tests/lab/installing starts them). Nor does a kubelet: who needs one puts
it into its folder.
"""

import contextlib
import dataclasses
import os
import pathlib
import shlex
import signal
import subprocess
from collections.abc import Iterator

from tests.fakes import mock_node
from tests.kernel import namespaces

PF, VFS = "ens1f0", 8
_PROGRAMS = "/opt/sriov-underlay/bin"
_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private")
_SETTING_UP = """
over={folder}/over
mkdir $over
mount -t tmpfs over $over
cp -L /etc/hosts /etc/resolv.conf $over
for name in etc opt run var usr/local; do
    mkdir -p $over/$name $over/$name.work
    mount -t overlay -o lowerdir=/$name,upperdir=$over/$name,workdir=$over/$name.work $name /$name
done
cp --remove-destination $over/hosts $over/resolv.conf /etc
mount --bind {folder}/sys /sys
rm -rf /run/systemd /run/sriov /etc/pcidp /etc/sriov-underlay /opt/sriov-underlay /opt/cni /var/lib/kubelet
mkdir -p /etc/pcidp /opt/cni/bin /var/lib/kubelet
mount --bind {folder}/kubelet /var/lib/kubelet
ip link set lo up
touch {folder}/made
exec sleep infinity
"""
"""It ends where a line fails: nothing may be removed before there is something over it.

A container's own hosts and resolv.conf are mounts, which an overlay does not show. What is removed is what this machine
may have, and the node has not.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """How it ended, and what it printed, errors too."""

    status: int
    said: str


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """`pid` is the first process of its namespaces, `reader` the folder in which lines are typed."""

    pid: int
    folder: pathlib.Path
    reader: pathlib.Path

    @property
    def kubelet(self) -> pathlib.Path:
        """Its /var/lib/kubelet, from outside."""
        return self.folder / "kubelet"

    def configure(self, config: str) -> None:
        """The device plugin, by its config.json."""
        ran = self.types(f"printf %s {shlex.quote(config)} >/etc/pcidp/config.json")
        assert ran.status == 0, ran.said

    def types(self, line: str, *, online: bool = False) -> Ran:
        """At a prompt, so that no process but its own has the line among its arguments.

        `online`: in this machine's network, where the registries are, and not in the node's.
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
        """At its root, which a namespace of mounts alone does not say."""
        namespaces_of = ["--mount", "--pid", *([] if online else ["--net"])]
        return ["nsenter", f"--target={self.pid}", "--root", "--wd", *namespaces_of, "bash"]

    def _typed(self, line: str) -> str:
        return f'cd {shlex.quote(str(self.reader))}; PATH="$PATH:{_PROGRAMS}"\n{line}\n'


def _children(pid: int) -> list[int]:
    return [int(each) for each in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def made(folder: pathlib.Path, reader: pathlib.Path) -> Iterator[Node]:
    """One PF of eight VFs, and nothing of ours. Needs root."""
    (folder / "kubelet/device-plugins").mkdir(parents=True)
    with contextlib.closing(mock_node.MockNode(folder, names=[PF], vfs=VFS)) as mock:
        _show_as_netdev(mock.sysfs_root)
        script = _SETTING_UP.format(folder=shlex.quote(str(folder)))
        command = ["nsenter", f"--net=/run/netns/{mock.name}", *_UNSHARE, "sh", "-ec", script]
        with subprocess.Popen(command) as process:
            try:
                assert namespaces.until((folder / "made").exists)
                [pid] = _children(process.pid)
                yield Node(pid, folder, reader)
            finally:
                process.kill()


def _show_as_netdev(sysfs: pathlib.Path) -> None:
    """/sys/class/net has the PF, and asks for VFs there; those that the mock has are there whatever is written."""
    [netdev] = sysfs.glob(f"devices/pci*/*/net/{PF}")
    (netdev / "device").symlink_to("../..")
    (netdev / "device/sriov_numvfs").write_text("0\n")
    (sysfs / "class/net").mkdir(parents=True)
    (sysfs / "class/net" / PF).symlink_to(pathlib.Path("../..") / netdev.relative_to(sysfs))
