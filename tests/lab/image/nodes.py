"""A node that runs the DaemonSet's pod from the image's root file system, under containerd: what a kubelet does for it.

Of this checkout nothing runs in the containers, and the shim is the one that the init container has put in place.
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator

import yaml

from hack.story import node, stage
from tests import artefacts
from tests.kernel import namespaces
from tests.lab.image import manifests
from tests.lab.runtimes import containerd

MANIFESTS = artefacts.PROJECT / "deploy/kustomize"
KUBELET = pathlib.Path("/var/lib/kubelet")
CNI = pathlib.Path("/opt/cni/bin")
RUN = pathlib.Path("/run/sriov")
_KUBELETS = (KUBELET / "device-plugins", KUBELET / "pod-resources", CNI)


def declared() -> manifests.Pod:
    names = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    return manifests.pod([yaml.safe_load((MANIFESTS / name).read_text()) for name in names])


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """containerd's client, as a command line; `folder` holds the node's state, `rootfs` is the image."""

    folder: pathlib.Path
    ctr: tuple[str, ...]
    rootfs: pathlib.Path


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """A container's first process as the kernel shows it: /proc/PID/status, `ro` or `rw` of each mount, and which
    of them follow the node's."""

    status: dict[str, str]
    mounts: dict[str, str]
    following: frozenset[str]


class Node(node.Node):
    """The story's node. Its processes are containers; their output is in the same logs."""

    def __init__(self, runtime: Runtime) -> None:
        shim = (str(CNI / "sriov"),)
        super().__init__(stage.Igb(), runtime.folder, kubelet_dir=KUBELET, run_dir=RUN, shim=shim)
        self.pod = declared()
        self._ctr, self._rootfs = runtime.ctr, str(runtime.rootfs)
        self._sources = {name: self._source(volume) for name, volume in self.pod.volumes.items()}

    def _source(self, volume: manifests.Volume) -> str:
        if volume.must_exist:
            assert pathlib.Path(volume.path).is_dir(), volume.path
        path = pathlib.Path(volume.path or self._folder / volume.name)
        path.mkdir(parents=True, exist_ok=True)
        for name, content in self.pod.configs.get(volume.config, {}).items():
            (path / name).write_text(content)
        if volume.annotated:
            (path / volume.annotated).write_text("")
        return str(path)

    def file(self, volume: str, name: str) -> pathlib.Path:
        """In a volume, as the node sees it."""
        return pathlib.Path(self._sources[volume], name)

    def restore_config(self) -> None:
        """The ConfigMap as it is declared, whatever a test made of it."""
        self._source(self.pod.volumes["config"])

    @contextlib.contextmanager
    def kubelet(self) -> Iterator[None]:
        """A stand-in kubelet that ends with the context."""
        with contextlib.ExitStack() as self._stack:
            self.start_kubelet()
            yield

    def start_device_plugin(self, config: object) -> None:
        self.file("config", "config.json").write_text(json.dumps(config))
        self._stack.enter_context(self.running("device-plugin"))

    def start_cni_daemon(self) -> None:
        self._stack.enter_context(self.running("cni-daemon"))
        self._until((self.run_dir / "cni.sock").exists, "the CNI daemon's socket")

    @contextlib.contextmanager
    def running(self, name: str, without: str = "", *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A container of the DaemonSet, less one capability or mount. It is told to stop in the end.

        `arguments` are further ones, as the chart's extraArgs.
        """
        process = self.start(name, without, *arguments)
        try:
            yield process
        finally:
            if process.poll() is None:
                self.end(name)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                self._signal(name, "SIGKILL")
                process.wait()
                raise

    def end(self, name: str) -> None:
        """As the kubelet begins to."""
        self._signal(name, "SIGTERM")

    def _signal(self, name: str, signal: str) -> None:
        """Nothing where the container has just ended by itself."""
        subprocess.run([*self._ctr, "task", "kill", "--signal", signal, name], check=False, capture_output=True)

    def start(self, name: str, without: str = "", *arguments: str) -> subprocess.Popen[bytes]:
        container = self.pod.containers[name]
        container = dataclasses.replace(container, command=(*container.command, *arguments))
        spec = self._folder / f"{name}.spec.json"
        spec.write_text(json.dumps(self.spec(container.without(without) if without else container)))
        with (self._folder / f"{name}.log").open("wb") as log:
            run = [*self._ctr, "run", "--rm", "--config", str(spec), name]
            return subprocess.Popen(run, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def process(self, name: str) -> Process:
        """Of a container whose startup probe has said yes, if it has one."""
        if probe := self.pod.containers[name].probe:
            self._until(lambda: _answers(probe), f"the start of {name}")
        proc = pathlib.Path("/proc", self._pid(name))
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
        lines = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
        following = frozenset(words[4] for words in lines if any(word.startswith("master:") for word in words))
        return Process(status, {words[4]: words[5].split(",")[0] for words in lines}, following)

    def _pid(self, name: str) -> str:
        self._until(lambda: self._tasks(name), f"the process of {name}")
        return self._tasks(name)[0].split()[1]

    def _tasks(self, name: str) -> list[str]:
        listed = subprocess.run([*self._ctr, "task", "list"], check=True, capture_output=True, text=True).stdout
        return [line for line in listed.splitlines() if re.match(rf"{name} .* RUNNING", line)]

    def executed(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """What `kubectl exec` does in a container that runs."""
        self._until(lambda: self._tasks(name), f"the process of {name}")
        run = [*self._ctr, "task", "exec", "--exec-id", "kubectl", name, *command]
        return subprocess.run(run, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def said(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def spec(self, container: manifests.Container) -> dict[str, object]:
        """containerd's own idea of a container, with what is declared in it."""
        shown = _pattern(self._ctr, self._rootfs, tuple(manifests.create_options(container)))
        return manifests.oci(json.loads(shown)["Spec"], container, self._rootfs, self._sources)


@functools.cache
def _pattern(ctr: tuple[str, ...], rootfs: str, options: tuple[str, ...]) -> bytes:
    """What containerd makes of these options: the same for every container that has them."""
    subprocess.run([*ctr, "container", "create", *options, "--rootfs", rootfs, "pattern", "/"], check=True)
    shown = subprocess.run([*ctr, "container", "info", "pattern"], check=True, capture_output=True).stdout
    subprocess.run([*ctr, "container", "delete", "pattern"], check=True)
    return shown


def _answers(url: str) -> bool:
    try:
        asked(url)
    except OSError:
        return False
    return True


def asked(url: str) -> str:
    """The body that a GET is answered with. Raises OSError, also for a status that is no success."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 (the manifest's own address)
        return str(answer.read().decode())


@contextlib.contextmanager
def prepared(folder: pathlib.Path, rootfs: pathlib.Path) -> Iterator[Runtime]:
    """containerd, and the folders of kubelet and runtime on this node. What the pod leaves on it goes in the end."""
    folder.mkdir()
    for path in _KUBELETS:
        path.mkdir(parents=True)
    try:
        # The first namespace makes their folder a shared mount, as all of a node's are by systemd.
        with namespaces.made("first"), containerd.serving(folder) as ctr:
            yield Runtime(folder, tuple(ctr), rootfs)
    finally:
        for path in (*_KUBELETS, RUN, folder):
            shutil.rmtree(path, ignore_errors=True)
