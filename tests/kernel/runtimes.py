"""Container runtimes of Debian, runc and crun, with a bundle of this machine's own files and the edits of a CDI spec.

The edits are those that containerd and CRI-O apply before they call a runtime: container-device-interface, pkg/cdi,
`InjectDevices` adds the spec's own once and then those of each device.
"""

import json
import pathlib
import shutil
import subprocess
import uuid
from typing import Any

import pytest

NAMES = ("runc", "crun")
_OWN = ("/usr", "/bin", "/lib", "/lib64")

# crun 1.8 knows one hierarchy of control groups only, and this machine may have two. Both runtimes run in a mount
# namespace of their own, as the hook shows that it needs none of theirs.
_CGROUP2 = 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'


class Bundle:
    """A container's bundle below `root`; its program leaves the file `started`."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root, self.started = root, root / "rootfs/out/started"
        self.started.parent.mkdir(parents=True)

    def run(
        self,
        runtime: str,
        netns: str | None,
        specs: list[dict[str, Any]] = [],  # noqa: B006  # read only
    ) -> subprocess.CompletedProcess[str]:
        """Run a container in the network namespace, or in this machine's, as a pod with hostNetwork is."""
        if shutil.which(runtime) is None:
            pytest.skip(f"no {runtime}; hack/packages {runtime} installs it")
        self.started.unlink(missing_ok=True)
        (self.root / "config.json").write_text(json.dumps(_config(netns, specs)))
        command = [*_command(runtime), f"--root={self.root}/state-{runtime}", "run", f"--bundle={self.root}"]
        return subprocess.run(
            [*command, f"c{uuid.uuid4().hex[:8]}"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def _command(runtime: str) -> list[str]:
    if runtime == "runc":
        return ["runc"]
    return ["unshare", "--mount", "sh", "-c", _CGROUP2, "sh", "crun", "--cgroup-manager=disabled"]


def _config(netns: str | None, specs: list[dict[str, Any]]) -> dict[str, Any]:
    mounts = [{"destination": each, "type": "bind", "source": each, "options": ["rbind", "ro"]} for each in _OWN]
    namespaces: list[dict[str, str]] = [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}]
    if netns is not None:
        namespaces.append({"type": "network", "path": netns})
    hooks: dict[str, list[dict[str, Any]]] = {}
    for each in (one for spec in specs for one in spec["containerEdits"]["hooks"]):
        hooks.setdefault(each["hookName"], []).append({key: each[key] for key in ("path", "args", "timeout")})
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", "echo yes >/out/started"],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            *mounts,
        ],
        "annotations": {"pid": "1", "io.kubernetes.cri.sandbox-name": '","pid":1,"'},
        "linux": {"namespaces": namespaces},
        "hooks": hooks,
    }
