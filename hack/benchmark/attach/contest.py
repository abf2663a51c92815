"""Benchmark of attach and detach: ours, containernetworking-plugins and the bare kernel, alternately in one run.

The order changes every round, and between two calls the kernel has time to settle: it dismantles a namespace after a
contender has answered, and no contender may pay for another. Only ratios count; times are this machine's, at this
moment.
"""

import contextlib
import dataclasses
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from hack.benchmark.attach import comparing, contenders, floor, peers
from hack.benchmark.stages import stage
from hack.guest import errors

ROUNDS = 100
BURST = 64
_BURSTS = 5
_SETTLE = (0.05, 0.1)  # seconds
_CALM = 1.0  # seconds after a burst
_PYTHON = pathlib.Path("/usr/bin/python3")  # the interpreter in the shim's first line

_T = TypeVar("_T")

Costs = Mapping[str, Sequence[float]]
"""By contender and verb, as in `native_add`: milliseconds, one for each round. `_cpu` is of a whole pair."""


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """Everything that was measured, in milliseconds; a burst is of so many `pods` at once.

    `beside` is the name of another checkout that took part, "" for none.
    """

    costs: Costs
    bursts: Costs
    pods: int
    beside: str = ""


def measure(
    opened: contextlib.AbstractContextManager[stage.Stage], rounds: int = ROUNDS, *, alone: bool = False
) -> Taken:
    """Measure, about two seconds for each round. LabError if something is missing, BrokenRunError if a call fails.

    If `alone`, nobody but both checkouts takes part, and no burst: one second for each round.
    """
    others = peers.provide()
    python = (str(_PYTHON if _PYTHON.exists() else sys.executable), "-IS")
    with (
        opened as where,
        contextlib.closing(floor.Floor(where)) as bare,
        contextlib.closing(comparing.Comparison(where)) as comparison,
    ):
        beside = None if where.beside is None else _shims(where.beside.root, python)
        everybody = contenders.everybody(where, others, _shims(stage.ROOT, python), beside)
        if alone:
            everybody = [each for each in everybody if each.name.removesuffix("_beside") in ("native", "python")]
        bench = _Bench(where, bare, comparison, everybody, python)
        for turn in range(-1, rounds):
            bench.round(turn)
        for turn in range(0 if alone else _BURSTS if rounds >= ROUNDS else 1):
            bench.bursts(turn)
        return bench.taken()


def _shims(root: pathlib.Path, python: Sequence[str]) -> contenders.Shims:
    return contenders.Shims([_native_shim(root)], [*python, str(contenders.shim_sources(root) / "shim.py")])


def _native_shim(root: pathlib.Path) -> str:
    """Return the native shim of that source if it is built, since a guest needs minutes to compile; else build it."""
    found = root / f"build/shim-{platform.machine()}"
    if found.exists() and found.stat().st_mtime > (contenders.shim_sources(root) / "shim.c").stat().st_mtime:
        return str(found)
    built = subprocess.run([root / "hack/build-shim"], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        raise errors.LabError(f"there is no native shim of {root} to measure")
    return built.stdout.strip()


class _Bench:
    """Collects measurements. A round with a negative number is for warming up."""

    def __init__(
        self,
        where: stage.Stage,
        bare: floor.Floor,
        comparison: comparing.Comparison,
        everybody: list[contenders.Contender],
        python: Sequence[str],
    ) -> None:
        self._stage, self._bare, self._everybody, self._python = where, bare, everybody, python
        self._comparison = comparison
        self._costs: dict[str, list[float]] = {}
        self._bursts: dict[str, list[float]] = {}

    def taken(self) -> Taken:
        beside = self._stage.beside.root.name if self._stage.beside else ""
        return Taken(self._costs, self._bursts, len(self._stage.links), beside)

    def round(self, turn: int) -> None:
        """Run each contender's pair once, in another order each time."""
        pairs: list[Callable[[], Mapping[str, float]]] = [
            *(lambda one=one: self._pair(one) for one in self._everybody),
            self._floor_pair,
            *([self._floor_pair_with_vlan] if self._stage.has_pfs else []),
            self._starts,
        ]
        for pair in _turned(pairs, turn):
            costs = pair()
            if turn >= 0:
                for key, value in costs.items():
                    self._costs.setdefault(key, []).append(value)
        if not self._stage.is_whole():
            raise contenders.BrokenRunError("a link has not come home under its name and number")
        self._comparison.check(self._stage.links[0])

    def bursts(self, turn: int) -> None:
        """Attach all links at once, by the contenders that are compared; then move all of them, one by one."""
        every = {each.name: each for each in self._everybody if each.name in ("native", "v19", "v111")}
        bursts = [(name, lambda one=one: self._burst(one)) for name, one in every.items()]
        for name, burst in _turned([*bursts, ("floor", self._floor_burst)], turn):
            self._bursts.setdefault(name, []).append(burst())
            time.sleep(_CALM)

    def _pair(self, one: contenders.Contender) -> Mapping[str, float]:
        link = self._stage.links[0]
        before = one.daemon.cpu() if one.daemon else 0
        with _settled():
            add = one.call("ADD", link)
        with _settled():
            delete = one.call("DEL", link)
        if one.daemon is None:
            self._comparison.set_back(link)
        cpu = add.cpu + delete.cpu + (one.daemon.cpu() - before if one.daemon else 0)
        return {f"{one.name}_add": add.wall, f"{one.name}_del": delete.wall, f"{one.name}_cpu": cpu}

    def _floor_pair(self) -> Mapping[str, float]:
        link = self._stage.links[0]
        with _settled():
            add = _milliseconds(lambda: self._bare.add(link))
        with _settled():
            delete = _milliseconds(lambda: self._bare.delete(link))
            compare = self._comparison.milliseconds(link)
        return {"floor_add": add, "floor_del": delete, "compare": compare}

    def _floor_pair_with_vlan(self) -> Mapping[str, float]:
        link = self._stage.links[0]
        pf = link.pf
        if pf is None:
            return {}
        with _settled():
            add = _milliseconds(lambda: self._bare.add_with_vlan(link, pf, contenders.VLAN))
        with _settled():
            delete = _milliseconds(lambda: self._bare.delete_with_vlan(link, pf))
        return {"floor_vlan_add": add, "floor_vlan_del": delete}

    def _starts(self) -> Mapping[str, float]:
        """Measure a shim's start alone: VERSION, which asks the daemon and touches no link; and a bare interpreter."""
        every = {each.name: each for each in self._everybody if each.name in ("native", "python")}
        costs = {}
        for name, one in every.items():
            env = {**one.environment, "CNI_COMMAND": "VERSION"}
            costs[f"{name}_version"] = contenders.launch(one.command, env, b"{}").wait()[2].wall
        costs["bare_python"] = contenders.launch([*self._python, "-c", "pass"], {}, b"").wait()[2].wall
        return costs

    def _burst(self, one: contenders.Contender) -> float:
        def all_at_once(verb: str) -> None:
            started = [(link, one.start(verb, link)) for link in self._stage.links]
            for link, each in started:
                one.finish(verb, link, each)

        took = _milliseconds(lambda: all_at_once("ADD"))
        time.sleep(_CALM)
        all_at_once("DEL")
        return took

    def _floor_burst(self) -> float:
        took = _milliseconds(lambda: self._bare.move_all(self._stage.links))
        self._bare.delete_all(self._stage.links)
        return took


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """Wait until the kernel has done what the call left behind, 50 to 100 ms at random."""
    yield
    low, high = _SETTLE
    time.sleep(low + (high - low) * (time.monotonic_ns() // 1000 % 1000) / 1000)


def _turned(items: Sequence[_T], turn: int) -> Sequence[_T]:
    """Rotate the items by one each time, and reverse them every second time."""
    first = turn % len(items)
    order = [*items[first:], *items[:first]]
    return order[::-1] if turn % 2 else order


def _milliseconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
