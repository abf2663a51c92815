"""Node of the demo, with real processes: stand-in kubelet, device plugin, CNI daemon; and the shim as runtimes run it.

Only this module starts or stops them.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hack.story import stage as stages

PROJECT = pathlib.Path(__file__).parents[2]
SHIM = (sys.executable, "-IS", str(PROJECT / "sriov_cni/shim/shim.py"))
_PATIENCE = 60.0  # seconds; an emulated machine takes its time


class StoryError(Exception):
    """A step failed; the message is for the terminal."""


class Node:
    """The processes of one node. Logs and sockets are below `folder`, in paths short enough for a socket."""

    def __init__(
        self,
        stage: stages.Stage,
        folder: pathlib.Path,
        *,
        kubelet_dir: pathlib.Path | None = None,
        run_dir: pathlib.Path | None = None,
        shim: Sequence[str] = SHIM,
    ) -> None:
        self.stage = stage
        self._folder = folder
        self._kubelet_dir = kubelet_dir or folder / "kubelet"
        self._control = folder / "control.sock"
        self.run_dir = run_dir or folder / "run"
        self._shim = shim
        self._stack = contextlib.ExitStack()

    def start_kubelet(self) -> None:
        (self._kubelet_dir / "device-plugins").mkdir(parents=True, exist_ok=True)
        self._control.unlink(missing_ok=True)
        self._start("kubelet", "tests.fakes.kubelet", "--dir", str(self._kubelet_dir), "--control", str(self._control))
        self._until(self._control.exists, "the kubelet's control socket")

    def start_device_plugin(self, config: object) -> None:
        path = self._folder / "config.json"
        path.write_text(json.dumps(config, indent=2))
        options = ("--config-file", str(path), "--kubelet-root-dir", str(self._kubelet_dir))
        self._start("deviceplugin", "deviceplugin", *options, "--sysfs", str(self.stage.tree.root))

    def start_cni_daemon(self) -> None:
        options = ("--run-dir", str(self.run_dir), "--sysfs", str(self.stage.tree.root))
        self._start("sriov_cni", *self.stage.daemon(), *options)
        self._until((self.run_dir / "cni.sock").exists, "the CNI daemon's socket")

    def ask_kubelet(self, **request: object) -> Any:
        """Send one question over the stand-in kubelet's control socket."""
        with socket.socket(socket.AF_UNIX) as control, control.makefile("r") as answers:
            control.settimeout(_PATIENCE)
            control.connect(str(self._control))
            control.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(answers.readline())
        if "error" in answer:
            raise StoryError(f"kubelet: {request}: {answer['error']}")
        return answer["result"]

    def cni(self, command: str, network: Mapping[str, object], container: str, netns: str, args: str = "") -> Any:
        """Run the shim as a container runtime does; its JSON, or None. `args` is CNI_ARGS."""
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": "net1",
            "CNI_ARGS": args,
            "CNI_PATH": str(stages.HOST_LOCAL),
            "SRIOV_CNI_SOCKET": str(self.run_dir / "cni.sock"),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(self._shim, input=json.dumps(network).encode(), env=env, capture_output=True, check=False)
        if done.returncode:
            raise StoryError(f"CNI {command} of {container}: {done.stdout.decode().strip() or done.stderr.decode()}")
        return json.loads(done.stdout) if done.stdout else None

    @property
    def addresses(self) -> str:
        """Return the folder where host-local keeps its leases."""
        return str(self._folder / "leases")

    def close(self) -> None:
        self._stack.close()

    def logs(self) -> str:
        """Return the last lines of every process, for a step that failed."""
        parts = []
        for path in sorted(self._folder.glob("*.log")):
            parts += [f"── {path.stem}", *path.read_text(errors="replace").splitlines()[-15:]]
        return "\n".join(parts)

    def _start(self, name: str, module: str, *arguments: str) -> None:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        command = self.stage.command(sys.executable, "-m", module, *arguments)
        process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._stack.callback(_stop, process)

    def _until(self, true: Any, what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not true():
            if time.monotonic() > deadline:
                raise StoryError(f"{what} did not appear within {_PATIENCE:g} s")
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running(stage: stages.Stage, folder: pathlib.Path) -> Iterator[Node]:
    with contextlib.closing(Node(stage, folder)) as node:
        yield node
