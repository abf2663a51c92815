"""containerd 1.6 and `ctr run --cni`, which takes the first conflist in /etc/cni/net.d and plugins in /opt/cni/bin.

Its CRI plugin is off: it would want a pod network of its own. stdin is nobody's: ctr waits for what it can read.
"""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

from tests.lab.runtimes import benches, containers

NETWORKS = pathlib.Path("/etc/cni/net.d")
PLUGINS = pathlib.Path("/opt/cni/bin")
_CONFIG = """
version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{folder}/containerd.sock"
"""


class Containerd:
    """ctr, as an administrator uses it."""

    def __init__(self, bench: benches.Bench, ctr: list[str]) -> None:
        self._bench = bench
        self._ctr = ctr
        NETWORKS.mkdir(parents=True, exist_ok=True)

    def start(
        self, name: str, network: benches.Network, peer: str | None = None
    ) -> tuple[containers.Container, subprocess.Popen[str]]:
        """`ctr run`, which stays as long as the container."""
        (NETWORKS / "10-lab.conflist").write_text(network.conflist(self._bench.leases))
        made = containers.Container(name, network, self._bench.root(name))
        run = ["run", "--rm", "--cni", "--env", "PATH=/bin", "--cap-add", "CAP_NET_RAW", "--rootfs", str(made.root)]
        return made, benches.spawn([*self._ctr, *run, name, *made.command(peer)])

    def end(self, name: str) -> None:
        """Kill the container's process; its `ctr run` sees to the rest."""
        subprocess.run([*self._ctr, "task", "kill", "--signal", "SIGKILL", name], check=True)

    def remove(self, name: str) -> None:
        """What an administrator does with a container whose ctr is dead."""
        subprocess.run([*self._ctr, "task", "delete", "--force", name], check=True, capture_output=True)
        subprocess.run([*self._ctr, "container", "delete", name], check=True, capture_output=True)


@contextlib.contextmanager
def running(bench: benches.Bench) -> Iterator[Containerd]:
    with _plugins(bench), serving(bench.folder) as ctr:
        yield Containerd(bench, ctr)


@contextlib.contextmanager
def _plugins(bench: benches.Bench) -> Iterator[None]:
    """The bench's plugins where ctr looks for them, over whatever another test has left there."""
    PLUGINS.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", bench.plugins, PLUGINS], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", PLUGINS], check=True)


@contextlib.contextmanager
def serving(folder: pathlib.Path) -> Iterator[list[str]]:
    """containerd with everything of its own below `folder`; its client's command line."""
    config, socket = folder / "containerd.toml", folder / "containerd.sock"
    config.write_text(_CONFIG.format(folder=folder))
    with (folder / "containerd.log").open("wb") as log:
        daemon = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log)
    try:
        benches.until(socket.exists)
        yield ["ctr", "--address", str(socket)]
    finally:
        daemon.terminate()
        daemon.wait()
