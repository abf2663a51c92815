"""Cost of an ADD with growing numbers of VFs, attachments and calls, and the daemon's memory meanwhile.

VFs of one PF are netdevsim's, in the guest; attachments and calls are of veths on this machine. No process is started
for a call: only the daemon's or the kernel's cost can grow.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence

from hack.benchmark import figures
from hack.benchmark.attach import contenders
from hack.benchmark.stages import stage, veths
from tests.sriov_cni import harness

VFS = (4, 64, 256)
"""VFs of one PF."""
HELD = (1, 100, 1000)
"""Attachments that exist while one more is made."""
PAIRS_A_ROUND = 100  # 10,000 with the usual 100 rounds
_PODS = 4
_WARM = 200  # pairs, until caches have their final state
_SAMPLES = 50


def measure(rounds: int, holding: Sequence[int] = HELD, sizes: Sequence[int] = VFS) -> list[figures.Figure]:
    """Measure; takes ten minutes with 100 rounds. Raises BrokenRunError if the guest's part fails."""
    by_vfs = _in_the_guest(min(rounds, _SAMPLES), sizes)
    small, large = sizes[0], sizes[-1]
    few, many = holding[0], holding[-1]
    with veths.opened(many + 1, _PODS) as bench:
        by_held = _by_held(bench, holding, min(rounds, _SAMPLES))
        before, after = _memory(bench, rounds * PAIRS_A_ROUND)
    return [
        figures.Figure(f"add_{large}_over_{small}_vfs", by_vfs[large] / by_vfs[small], 1.15, "netdevsim, in the guest"),
        figures.Figure(f"add_{many}_over_{few}_held", by_held[many] / by_held[few], 1.10),
        figures.Figure("daemon_rss_mb", after, 48),
        figures.Figure("daemon_rss_growth_mb_10000", after - before, 2, f"over {rounds * PAIRS_A_ROUND} pairs"),
        *(figures.Figure(f"add_ms_p50_{vfs}_vfs", value) for vfs, value in by_vfs.items()),
        *(figures.Figure(f"add_ms_p50_{held}_held", value) for held, value in by_held.items()),
    ]


def _in_the_guest(rounds: int, sizes: Sequence[int]) -> dict[int, float]:
    """Return the median milliseconds of an ADD by the number of VFs."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        inside = [sys.executable, "-P", "-m", "hack.benchmark.simulated", f"{folder}/times.json", str(rounds)]
        lab = [str(stage.ROOT / "hack/lab"), "run", "--netdevsim", "--out", folder, "--env", f"PYTHONPATH={stage.ROOT}"]
        done = subprocess.run(
            [*lab, "--", *inside, *map(str, sizes)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode:
            raise contenders.BrokenRunError(f"netdevsim in the guest: {done.stdout.decode(errors='replace')[-2000:]}")
        return {int(vfs): value for vfs, value in json.loads(pathlib.Path(folder, "times.json").read_text()).items()}


def _by_held(bench: stage.Stage, holding: Sequence[int], rounds: int) -> dict[int, float]:
    """Return it by the number of attachments held, measured on the way up and on the way down again."""
    *others, spare = bench.links
    taken: dict[int, list[float]] = {held: [] for held in holding}
    for held in (*holding, *reversed(holding)):
        _hold(bench, others, held)
        taken[held] += [_pair(bench, spare) for _ in range(rounds)]
    _hold(bench, others, 0)
    return {held: statistics.median(each) for held, each in taken.items()}


def _hold(bench: stage.Stage, links: list[stage.Link], wanted: int) -> None:
    """Attach so many of the links, and no others."""
    held = len(list((bench.folder / "run/vfs").glob("*.json")))
    for link in links[held:wanted]:
        _call(bench, "ADD", link)
    for link in links[wanted:held]:
        _call(bench, "DEL", link)


def _memory(bench: stage.Stage, pairs: int) -> tuple[float, float]:
    """Return the daemon's resident memory in MB of 2^20 bytes: after the warm-up, and so many pairs later."""
    _repeat(bench, min(pairs, _WARM))
    before = _resident(bench.daemon.pid)
    _repeat(bench, pairs)
    return before, _resident(bench.daemon.pid)


def _repeat(bench: stage.Stage, pairs: int) -> None:
    for number in range(pairs):
        _pair(bench, bench.links[number % len(bench.links)])


def _pair(bench: stage.Stage, link: stage.Link) -> float:
    """Return milliseconds of the ADD."""
    began = time.perf_counter()
    _call(bench, "ADD", link)
    took = (time.perf_counter() - began) * 1000
    _call(bench, "DEL", link)
    return took


def _call(bench: stage.Stage, command: str, link: stage.Link) -> None:
    stdin = json.dumps(harness.configuration(link.pci)).encode()
    env = {"COMMAND": command, "CONTAINERID": link.name, "NETNS": link.pod_path, "IFNAME": f"net{link.index}"}
    harness.call_without_a_process(bench.daemon.socket, stdin, PATH="/", **env)


def _resident(pid: int) -> float:
    return _status(pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()) / 1024


def _status(lines: Iterable[str]) -> int:
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
