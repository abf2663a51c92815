"""Pods without a claim, behind another plugin: the whole call of a runtime, by the native shim and a daemon beside it.

The daemon knows 64 claims of other pods. A runtime's own part, starting the shim and waiting for its end, is in it.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

from hack.benchmark import figures
from sriov.state import grants
from tests.kernel import namespaces

_CLAIMS = 64
_WARM = 5  # calls, until the daemon has imported what it needs
_ROOT = pathlib.Path(__file__).parents[3]
_BEFORE = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
    "ips": [{"address": "10.88.0.2/16", "gateway": "10.88.0.1", "interface": 2}],
    "routes": [{"dst": "0.0.0.0/0"}],
}
_NETWORK = {"cniVersion": "1.0.0", "name": "cluster", "type": "sriov", "claims": "chained", "prevResult": _BEFORE}
_POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME=web-0;K8S_POD_UID=web-uid"


def measure(root: pathlib.Path, rounds: int) -> list[figures.Figure]:
    root.mkdir()
    _grant(root / "run")
    shim = subprocess.run([_ROOT / "hack/build-shim"], check=True, capture_output=True, text=True).stdout.strip()
    (root / "stdin").write_text(json.dumps(_NETWORK))
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_ARGS": _POD, "CNI_PATH": "/"}
    env |= {"CNI_NETNS": "/proc/self/ns/net", "SRIOV_CNI_SOCKET": str(root / "run/cni.sock")}
    with _daemon(root), (root / "stdout").open("wb") as stdout:
        taken = [_call(shim, env, root / "stdin", stdout.fileno()) for _ in range(_WARM + rounds)][_WARM:]
    assert json.loads((root / "stdout").read_bytes().splitlines()[-1]) == _BEFORE
    return [
        figures.Figure("passed_through_ms_p50", figures.percentile(taken, 0.5), 2.0, "the native shim, start to end"),
        figures.Figure("passed_through_ms_p99", figures.percentile(taken, 0.99)),
    ]


def _grant(run_dir: pathlib.Path) -> None:
    book = grants.Grants(run_dir)
    book.create()
    for number in range(_CLAIMS):
        device = grants.GrantedDevice(f"0000:{number:02x}:10.0", "vf", "worker-1/intel.com/a", "x")
        pods = (grants.GrantedPod(f"train-{number}", f"pod-{number}"),)
        book.write(
            grants.ClaimGrant(
                uid=f"u{number}", namespace="ml", name=f"c{number}", pods=pods, devices=(device,), of_one_pod=True
            )
        )


@contextlib.contextmanager
def _daemon(root: pathlib.Path) -> Iterator[None]:
    told = {"--run-dir": root / "run", **dict.fromkeys(("--policy", "--predecessor-dir"), root / "none")}
    flags = [str(word) for pair in told.items() for word in pair]
    command = [sys.executable, "-P", "-m", "sriov_cni", *flags]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(_ROOT)}, stderr=subprocess.DEVNULL) as process:
        try:
            assert namespaces.until((root / "run/cni.sock").exists)
            yield
        finally:
            process.terminate()


def _call(shim: str, env: dict[str, str], stdin: pathlib.Path, stdout: int) -> float:
    """Return milliseconds."""
    actions = [(os.POSIX_SPAWN_OPEN, 0, str(stdin), os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
    began = time.perf_counter()
    child = os.posix_spawn(shim, [shim], env, file_actions=actions)
    status = os.waitpid(child, 0)[1]
    took = (time.perf_counter() - began) * 1000
    assert status == 0, status
    return took
