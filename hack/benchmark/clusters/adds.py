"""ADD with `services: "socket"` beside one without, in turns, on the same veth: what Services add to a pod's start."""

import json
import pathlib
import time
from collections.abc import Mapping

from hack.benchmark import figures
from hack.benchmark.stages import stage, veths
from tests.sriov_cni import harness
from tests.sriov_cni.dataplane import bpf

_WARM = 20  # rounds, until caches have their final state
_WAYS: Mapping[str, Mapping[str, str]] = {"add": {}, "services_add": {"services": "socket"}}
"""Keys of the network by the figure's name."""


def measure(pins: pathlib.Path, rounds: int) -> list[figures.Figure]:
    """Measure with programs pinned in the folder; takes a tenth of a second a round.

    A veth's move waits for the kernel's RCU, 15 ms and more, by chance: a tenth of a millisecond more is not seen in
    the time of a few hundred ADDs. What the daemon computes meanwhile shows it.
    """
    times: dict[str, list[float]] = {way: [] for way in _WAYS}
    spent: dict[str, list[float]] = {way: [] for way in _WAYS}
    with veths.opened(1, options=(f"--services={pins}", f"--cgroup-root={bpf.cgroup()}")) as bench:
        for number in range(-_WARM, rounds):
            for way in sorted(_WAYS, reverse=bool(number % 2)):
                took, computed = _pair(bench, _WAYS[way])
                if number >= 0:
                    times[way].append(took)
                    spent[way].append(computed)
    return [
        *(
            figures.Figure(f"{way}_ms_p{share}", figures.percentile(taken, share / 100))
            for way, taken in times.items()
            for share in (50, 99)
        ),
        figures.Figure("services_add_more_ms_p50", _more(times), None, "in one run, in turns"),
        figures.Figure("services_add_more_cpu_ms_p50", _more(spent), 0.1, "the same of the daemon's CPU time"),
    ]


def _more(taken: Mapping[str, list[float]]) -> float:
    plain, translated = (figures.percentile(taken[way], 0.5) for way in _WAYS)
    return translated - plain


def _pair(bench: stage.Stage, keys: Mapping[str, str]) -> tuple[float, float]:
    """Return milliseconds of the ADD, and of the daemon's CPU time in it."""
    computed, began = bench.daemon.cpu(), time.perf_counter()
    _call(bench, "ADD", keys)
    took, computed = (time.perf_counter() - began) * 1000, bench.daemon.cpu() - computed
    _call(bench, "DEL", keys)
    return took, computed


def _call(bench: stage.Stage, command: str, keys: Mapping[str, str]) -> None:
    [link] = bench.links
    stdin = json.dumps(harness.configuration(link.pci, **keys)).encode()
    env = {"COMMAND": command, "CONTAINERID": link.name, "NETNS": link.pod_path, "IFNAME": "net1"}
    harness.call_without_a_process(bench.daemon.socket, stdin, PATH="/", **env)
