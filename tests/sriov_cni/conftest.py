"""A node in memory with a daemon on it, and a runtime that calls."""

import dataclasses
import pathlib
from collections.abc import Iterator

import pytest

from tests.fakes import bench
from tests.sriov_cni import harness
from tests.sriov_cni.shim import shims

IPAM = '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5/24","gateway":"10.1.0.1"}],"routes":[{"dst":"0.0.0.0/0"}]}'


@dataclasses.dataclass(frozen=True, slots=True)
class CniNode:
    """`plugins` is the folder on CNI_PATH; it holds the IPAM plugin `fixed`, which always gives 10.1.0.5/24.

    Nobody knows it, so it runs when the VF is in the pod. The same is there as `static`, which runs beside the move.
    """

    bench: bench.Bench
    client: harness.Client
    plugins: pathlib.Path

    @property
    def vf(self) -> str:
        return self.bench.vfs[0]

    def conf(self, **keys: object) -> dict[str, object]:
        return harness.configuration(self.vf, **keys)


@pytest.fixture(params=shims.BOTH)
def cni(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[CniNode]:
    """With each shim."""
    made = bench.make(tmp_path)
    plugins = tmp_path / "plugins"
    for name in ("fixed", "static"):
        harness.ipam_plugin(plugins, name, f"[ $CNI_COMMAND != ADD ] || echo '{IPAM}'")
    socket = tmp_path / "cni.sock"
    with harness.daemon(made.node, made.book, socket, made.machine.adopt):
        client = harness.Client(socket, str(plugins), made.machine.path("pod"), shims.command(request.param))
        yield CniNode(made, client, plugins)
    made.pod.close()
    made.machine.close()
