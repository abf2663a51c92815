"""A machine with the NIC of README, for what root types there: this one, with namespaces of its own.

/etc, /opt, /run and /var are this machine's below an overlay in memory, and go with it; /sys is a built tree; links are
a mock's, in a network namespace. systemd is not there, nor is what this machine may have of ours or of a kubelet.
"""

import contextlib
import dataclasses
import os
import pathlib
import shlex
import subprocess
from collections.abc import Iterator

from tests.deploy import rendering
from tests.fakes import mock_node
from tests.kernel import namespaces

PF, VFS = "ens1f0", 8
_SETTING_UP = """
over={folder}/over
mkdir $over
mount -t tmpfs over $over
cp -L /etc/hosts /etc/resolv.conf $over
for name in etc opt run var; do
    mkdir $over/$name $over/$name.work
    mount -t overlay -o lowerdir=/$name,upperdir=$over/$name,workdir=$over/$name.work $name /$name
done
cp --remove-destination $over/hosts $over/resolv.conf /etc
mount --bind {folder}/sys /sys
rm -rf /run/systemd /run/sriov /opt/sriov-underlay /opt/cni /etc/pcidp /etc/sriov-underlay /var/lib/kubelet
mkdir -p /opt/cni/bin /etc/pcidp /var/lib/kubelet
mount --bind {folder}/kubelet /var/lib/kubelet
touch {folder}/made
exec sleep infinity
"""
"""A container's own hosts and resolv.conf are mounts, which an overlay does not show."""


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """`kubelet` is its /var/lib/kubelet."""

    pid: int
    netns: str
    kubelet: pathlib.Path

    def types(self, line: str, *, online: bool = False) -> subprocess.CompletedProcess[str]:
        """In a checkout. `online`: in this machine's network, where the registries are."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", *([] if online else [f"--net={self.netns}"])]
        command = f"cd {shlex.quote(str(rendering.ROOT))} && {line}"
        return subprocess.run([*enter, "sh", "-c", command], capture_output=True, text=True, check=False)

    def write(self, path: str, said: str) -> None:
        done = self.types(f"printf %s {shlex.quote(said)} >{shlex.quote(path)}")
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def made(folder: pathlib.Path) -> Iterator[Machine]:
    """`folder` has a short path, since sockets will be in it. Needs root."""
    kubelet = folder / "kubelet"
    (kubelet / "device-plugins").mkdir(parents=True)
    with contextlib.closing(mock_node.MockNode(folder, names=[PF], vfs=VFS)) as mock:
        _show_as_netdev(mock.sysfs_root)
        netns = f"/run/netns/{mock.name}"
        within = ["nsenter", f"--net={netns}", "unshare", "--mount", "--propagation=private"]
        script = _SETTING_UP.format(folder=shlex.quote(str(folder)))
        with subprocess.Popen([*within, "sh", "-ec", script], env={**os.environ, "LC_ALL": "C"}) as process:
            try:
                assert namespaces.until((folder / "made").exists)
                yield Machine(process.pid, netns, kubelet)
            finally:
                process.kill()


def _show_as_netdev(sysfs: pathlib.Path) -> None:
    """/sys/class/net has the PF, and asks for VFs there; those that the mock has are there whatever is written."""
    [netdev] = sysfs.glob(f"devices/pci*/*/net/{PF}")
    (netdev / "device").symlink_to("../..")
    (netdev / "device/sriov_numvfs").write_text("0\n")
    (sysfs / "class/net").mkdir(parents=True)
    (sysfs / "class/net" / PF).symlink_to(pathlib.Path("../..") / netdev.relative_to(sysfs))
