"""Host link: an ADD with `hostLink` beside one without, in one run, each into a namespace that is new, as a pod's is.

Veths are the VFs, and the answer of the IPAM plugin is there at once, so that nothing but the daemon and the kernel
counts. Needs root.
"""

import contextlib
import json
import pathlib
import subprocess
import time

from hack.benchmark import figures
from hack.benchmark.stages import stage, veths
from tests.kernel import namespaces
from tests.sriov_cni import harness

PAIRS = 150
_WARM = 5  # pairs, until the daemon has imported what it needs
_NODE, _POD = "192.0.2.10/24", "10.123.0.5/16"
_LEASED = json.dumps({"cniVersion": "1.0.0", "ips": [{"address": _POD}], "routes": [{"dst": "0.0.0.0/0"}]})
_KEYS: dict[str, dict[str, object]] = {"without": {}, "with": {"hostLink": True, "viaHost": ["198.51.100.0/24"]}}


def measure(pairs: int = PAIRS) -> list[figures.Figure]:
    """Measure so many ADDs of either kind, alternately."""
    taken: dict[str, list[float]] = {kind: [] for kind in _KEYS}
    # No namespace ends meanwhile: the kernel takes them apart in the background, under the lock that all requests need.
    with veths.opened(1) as bench, contextlib.ExitStack() as pods:
        for line in ("link add up0 type bridge", f"address add {_NODE} dev up0", "link set up0 up"):
            subprocess.run(["ip", *line.split()], check=True)
        for number in range(pairs + _WARM):
            for kind, keys in _KEYS.items():
                took = _pair(bench, pods.enter_context(namespaces.made("fresh")), keys)
                if number >= _WARM:
                    taken[kind].append(took)
    return _figures(taken)


def _figures(taken: dict[str, list[float]]) -> list[figures.Figure]:
    found = []
    for name, share, target in (("p50", 0.5, 4.0), ("p99", 0.99, None)):
        plain, linked = (figures.percentile(taken[kind], share) for kind in _KEYS)
        found += [
            figures.Figure(f"add_ms_{name}", plain),
            figures.Figure(f"add_with_host_link_ms_{name}", linked),
            figures.Figure(f"host_link_adds_ms_{name}", linked - plain, target),
            figures.Figure(f"host_link_ratio_{name}", linked / plain),
        ]
    return found


def _pair(bench: stage.Stage, pod: namespaces.Namespace, keys: dict[str, object]) -> float:
    """Return milliseconds of the ADD."""
    [link] = bench.links
    ipam = {"type": "static"}
    stdin = json.dumps(harness.configuration(link.pci, cniVersion="1.0.0", ipam=ipam, **keys)).encode()
    began = time.perf_counter()
    _call(bench.daemon.socket, "ADD", stdin, pod.path)
    took = (time.perf_counter() - began) * 1000
    _call(bench.daemon.socket, "DEL", stdin, pod.path)
    return took


def _call(socket: pathlib.Path, command: str, stdin: bytes, pod: str) -> None:
    env = {"COMMAND": command, "CONTAINERID": "c1", "NETNS": pod, "IFNAME": "net1", "PATH": "/"}
    harness.call_without_a_process(socket, stdin, leased=_LEASED, **env)
