"""Cost of an ADD on netdevsim PFs of some sizes, in the guest: hack.benchmark.simulated FILE ROUNDS VFS..."""

import json
import pathlib
import statistics
import sys
import tempfile
import time

from sriov.state import ledger
from tests.fakes import simulated_node
from tests.kernel import namespaces
from tests.sriov_cni import harness

_KEYS = {"mac": "02:00:00:01:00:01", "vlan": 100, "vlanQoS": 3, "max_tx_rate": 100}


def main(file: pathlib.Path, rounds: int, *sizes: int) -> None:
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    for size in (*sizes, *reversed(sizes)):  # up and down, so that no size alone gets the machine's good minute
        taken[size] += _times(size, rounds)
    file.write_text(json.dumps({size: statistics.median(each) for size, each in taken.items()}))


def _times(size: int, rounds: int) -> list[float]:
    """Return milliseconds of each ADD, of the PF's last VF."""
    with (
        tempfile.TemporaryDirectory(prefix="sim-") as name,
        namespaces.made("host") as home,
        namespaces.made("pod") as pod,
        simulated_node.made(pathlib.Path(name), home.handle, size) as here,
        harness.daemon(here.node, ledger.Ledger(pathlib.Path(name, "run")), pathlib.Path(name, "cni.sock")),
    ):
        return [_pair(pathlib.Path(name, "cni.sock"), here.vfs[-1], pod.path) for _ in range(rounds + 1)][1:]


def _pair(socket: pathlib.Path, device: str, pod: str) -> float:
    stdin = json.dumps(harness.configuration(device, **_KEYS)).encode()
    env = {"CONTAINERID": "c1", "NETNS": pod, "IFNAME": "net1", "PATH": "/"}
    began = time.perf_counter()
    harness.call_without_a_process(socket, stdin, COMMAND="ADD", **env)
    took = (time.perf_counter() - began) * 1000
    harness.call_without_a_process(socket, stdin, COMMAND="DEL", **env)
    return took


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
