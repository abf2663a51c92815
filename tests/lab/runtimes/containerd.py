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

    def __init__(self, bench: benches.Bench) -> None:
        self._bench = bench
        self.socket = bench.folder / "containerd.sock"
        NETWORKS.mkdir(parents=True, exist_ok=True)
        if not PLUGINS.exists():
            PLUGINS.symlink_to(bench.plugins)

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

    @property
    def _ctr(self) -> list[str]:
        return ["ctr", "--address", str(self.socket)]


@contextlib.contextmanager
def running(bench: benches.Bench) -> Iterator[Containerd]:
    config = bench.folder / "containerd.toml"
    config.write_text(_CONFIG.format(folder=bench.folder))
    with (bench.folder / "containerd.log").open("wb") as log:
        daemon = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log)
    try:
        client = Containerd(bench)
        benches.until(client.socket.exists)
        yield client
    finally:
        daemon.terminate()
        daemon.wait()
