"""ADD of a VF that a claim has, on a node with 64 claims, beside one on a node that knows none, in one run.

Both have a daemon of their own on the same veth (`stages.rounds`). Needs root.
"""

import functools
import json
import time

from hack.benchmark import figures
from hack.benchmark.stages import rounds, stage, veths
from sriov.state import grants
from tests.kernel import namespaces
from tests.sriov_cni import harness

PAIRS = 300
_WARM = 10  # rounds, until the daemons have imported what they need
_CLAIMS = 64
_POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME=train-0;K8S_POD_UID=pod-0"


def measure(pairs: int = PAIRS) -> list[figures.Figure]:
    """Measure so many ADDs of each kind, in turns."""
    with veths.opened(1, beside=stage.ROOT) as bench:
        assert bench.beside is not None
        _grant(bench)
        daemons = {"without": bench.beside, "with": bench.daemon}
        ways = {name: functools.partial(_add, bench.links[0].pci, each) for name, each in daemons.items()}
        taken = rounds.taken(ways, pairs, _WARM)
    plain = figures.percentile(taken["without"], 0.5)
    more = rounds.more(taken["with"], taken["without"])
    return [
        figures.Figure("add_ms_p50", plain),
        figures.Figure("add_by_a_claim_over_add", (plain + more) / plain, 1.02, f"{_CLAIMS} claims on the node"),
    ]


def _grant(bench: stage.Stage) -> None:
    """Each claim has a VF; the first has the one that is there."""
    book = grants.Grants(bench.daemon.folder / "run")
    book.create()
    for number in range(_CLAIMS):
        device = bench.links[0].pci if number == 0 else f"0000:80:{number // 8:02x}.{number % 8}"
        granted = grants.GrantedDevice(device, "vf", "worker-1/intel.com/rail-a", f"vf-{number}", "intel.com/rail_a")
        pods = (grants.GrantedPod(f"train-{number}", f"pod-{number}"),)
        book.write(
            grants.ClaimGrant(uid=f"claim-{number}", namespace="ml", name=f"c{number}", pods=pods, devices=(granted,))
        )


def _add(pci: str, daemon: stage.Daemon, pod: namespaces.Namespace) -> float:
    """Return milliseconds of the ADD."""
    stdin = json.dumps(harness.configuration(pci, cniVersion="1.0.0")).encode()
    env = {"CONTAINERID": "c1", "NETNS": pod.path, "IFNAME": "net1", "PATH": "/", "ARGS": _POD}
    began = time.perf_counter()
    harness.call_without_a_process(daemon.socket, stdin, COMMAND="ADD", **env)
    took = (time.perf_counter() - began) * 1000
    harness.call_without_a_process(daemon.socket, stdin, COMMAND="DEL", **env)
    return took
