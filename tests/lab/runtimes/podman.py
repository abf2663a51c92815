"""podman 4.3 with its CNI backend, on folders of its own; containers from a plain folder, no image, no registry."""

import os
import pathlib
import shlex
import subprocess

from tests.examples import table
from tests.lab.runtimes import benches, containers

CRUN = pathlib.Path("/usr/bin/crun")
_CONTAINERS = """
[containers]
log_driver = "none"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{folder}/plugins"]
network_config_dir = "{folder}/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
tmp_dir = "{folder}/podman/tmp"
static_dir = "{folder}/podman/static"
volume_path = "{folder}/podman/volumes"
[engine.runtimes]
crun = ["{crun}"]
held = ["{folder}/held-crun"]
"""
_STORAGE = """
[storage]
driver = "vfs"
runroot = "{folder}/podman/run"
graphroot = "{folder}/podman/storage"
"""


class Podman:
    """As an administrator uses it, and no state outside the bench's folder but namespaces and cgroups."""

    def __init__(self, bench: benches.Bench) -> None:
        self._bench = bench
        self._networks = bench.folder / "networks"
        self._networks.mkdir()
        bench.make_held(bench.folder / "held-crun", CRUN)
        for name, text in (("containers", _CONTAINERS), ("storage", _STORAGE)):
            (bench.folder / f"{name}.conf").write_text(text.format(folder=bench.folder, crun=CRUN))
        ours = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
        self._environment = {**os.environ, **{name: str(bench.folder / file) for name, file in ours.items()}}

    def start(
        self, name: str, network: benches.Network, peer: str | None = None, runtime: str = "crun"
    ) -> tuple[containers.Container, subprocess.Popen[str]]:
        """`podman run` and nobody who waits for it yet."""
        (self._networks / f"{network.name}.conflist").write_text(network.conflist(self._bench.leases))
        made = containers.Container(name, network, self._bench.root(name))
        [example] = table.run_by(__file__, "start")
        podman, run, *options = shlex.split(example.command.replace("vf0", network.name))
        options += ["--detach", "--name", name, "--cap-add", "NET_RAW"]
        command = [podman, "--runtime", runtime, run, *options, "--rootfs", str(made.root), *made.command(peer)]
        return made, benches.spawn(command, self._environment)

    def run(self, name: str, network: benches.Network, peer: str | None = None) -> containers.Container:
        made, process = self.start(name, network, peer)
        said = process.communicate()[0]
        assert process.returncode == 0, said
        return made

    def remove(self, *names: str) -> None:
        """As often as it takes: after a killed podman, the first may fail over what that left behind, and clean it."""
        benches.until(lambda: self._removed(*names))

    def _removed(self, *names: str) -> bool:
        command = ["podman", "rm", "--force", "--ignore", "--time", "0", *names]
        process = benches.spawn(command, self._environment)
        said = process.communicate()[0]
        if process.returncode:
            print(said)
        return process.returncode == 0
