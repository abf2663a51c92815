"""Report of `hack/bench attach`: the ratios with their targets, the raw values, a table."""

import itertools
import os
import random
from collections.abc import Iterator, Mapping, Sequence

from hack.benchmark import figures
from hack.benchmark.attach import contest

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
NAMES = {
    "v19": "host-device 1.9",
    "v111": "host-device 1.1.1",
    "python": "sriov, Python shim",
    "native": "sriov, native shim",
    "native_no_ipam": "sriov, native shim, no IPAM",
    "floor": "the kernel alone",
}
WITH_PFS = {"native_vlan": "sriov, native shim, VLAN", "floor_vlan": "the kernel alone, VLAN"}
"""Names of those that take part if the links are VFs with a PF; without IPAM."""
_SHIMS = {"native": "native shim", "python": "Python shim"}
_AS_BEFORE = 1.03
_DRAWS = 500  # resamplings for an interval


def ratios(taken: contest.Taken) -> list[figures.Figure]:
    """Return ours over theirs, over the kernel's, over Python's."""
    costs = _medians(taken.costs)
    return [*(_others(taken) if taken.bursts else ()), *_beside(taken), *_with_vlan(costs), _comparison(costs)]


def _others(taken: contest.Taken) -> list[figures.Figure]:
    costs, bursts = _medians(taken.costs), _medians(taken.bursts)
    each = [
        ("add_p50_ratio_native", costs["native_add"] / costs["v19_add"], 0.45),
        ("add_p50_ratio_python", costs["python_add"] / costs["v19_add"], 0.60),
        ("del_p50_ratio_native", costs["native_del"] / costs["v19_del"], 0.47),
        ("del_p50_ratio_python", costs["python_del"] / costs["v19_del"], 0.62),
        ("add_p50_ratio_native_v111", costs["native_add"] / costs["v111_add"], 0.90),
        ("add_no_ipam_over_floor", costs["native_no_ipam_add"] / costs["floor_add"], 1.5),
        (f"burst{taken.pods}_ratio", bursts["native"] / bursts["v19"], 0.50),
        (f"burst{taken.pods}_over_floor", bursts["native"] / bursts["floor"], 1.20),
        ("cpu_pair_ratio", costs["native_cpu"] / costs["v19_cpu"], 0.60),
        ("python_shim_over_bare", costs["python_version"] / costs["bare_python"], 1.35),
    ]
    on_veths = taken.pods == contest.BURST  # the targets are for veths
    return [figures.Figure(key, value, target if on_veths else None) for key, value, target in each]


def _with_vlan(costs: Mapping[str, float]) -> Iterator[figures.Figure]:
    """Yield ours over the bare requests, if the links are VFs with a PF."""
    for verb, target in (("add", None), ("del", 1.25)) if "floor_vlan_add" in costs else ():
        value = costs[f"native_vlan_{verb}"] / costs[f"floor_vlan_{verb}"]
        what = f"{verb.upper()} p50, native shim, VLAN, over the move, one request to the PF and one to the VF"
        yield figures.Figure(f"{verb}_vlan_over_floor", value, target, what)


def _beside(taken: contest.Taken) -> Iterator[figures.Figure]:
    """Yield ours over another checkout's, on any links, with how far another run may be from it."""
    for verb, shim in itertools.product(("add", "del"), ("native", "python") if taken.beside else ()):
        ours, theirs = taken.costs[f"{shim}_{verb}"], taken.costs[f"{shim}_beside_{verb}"]
        low, high = interval(ours, theirs)
        what = f"{verb.upper()} p50, {_SHIMS[shim]}, over {taken.beside}'s, 95 % of runs {low:.3f} to {high:.3f}"
        yield figures.Figure(f"{verb}_p50_ratio_{shim}_beside", _ratio(ours, theirs), _AS_BEFORE, what)


def interval(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Return the limits between which the medians' ratio is in 95 of 100 runs, by drawing from the values again."""
    draw = random.Random(0)  # noqa: S311 (the same values have the same interval)
    drawn = sorted(_ratio(draw.choices(ours, k=len(ours)), draw.choices(theirs, k=len(theirs))) for _ in range(_DRAWS))
    return drawn[int(_DRAWS * 0.025)], drawn[int(_DRAWS * 0.975)]


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return figures.percentile(ours, 0.5) / figures.percentile(theirs, 0.5)


def _comparison(costs: Mapping[str, float]) -> figures.Figure:
    share = costs["compare"] / costs["native_del"]
    return figures.Figure("compare_over_del_p50", share, None, f"{costs['compare']:.2f} ms of a DEL, native shim")


def raw(taken: contest.Taken) -> list[figures.Figure]:
    """Return milliseconds, for programs; and the machine's other load."""
    costs = [
        (f"{key}_ms_{name}", figures.percentile(values, share))
        for key, values in sorted(taken.costs.items())
        for name, share in SHARES.items()
    ]
    bursts = [
        (f"{key}_burst{taken.pods}_ms_{name}", value)
        for key, values in sorted(taken.bursts.items())
        for name, value in (("p50", figures.percentile(values, 0.5)), ("min", min(values)), ("max", max(values)))
    ]
    rounds = ("rounds", float(len(taken.costs["floor_add"])))
    load = figures.Figure("load_1m", os.getloadavg()[0], None, "of the machine, this benchmark's own included")
    return [*(figures.Figure(*each, quiet=True) for each in (*costs, *bursts, rounds)), load]


def table(taken: contest.Taken) -> Iterator[str]:
    """Yield a line for each contender: p50, p90, p99 of ADD and DEL and the CPU of a pair; then all pods at once."""
    yield f"{'milliseconds: p50 / p90 / p99':<29} {'ADD':^23}  {'DEL':^23}  {'CPU of a pair':^23}"
    for key, name in (NAMES | WITH_PFS).items():
        if f"{key}_add" in taken.costs:
            yield _line(name, key, taken.costs)
    for key, name in _SHIMS.items() if taken.beside else ():
        yield _line(f"{taken.beside}, {name}", f"{key}_beside", taken.costs)
    yield f"{'comparison after the scrub':<29} {'':23}  {_three(taken.costs['compare'])}"
    for key, values in taken.bursts.items():
        who, middle = f"{NAMES[key]}, {taken.pods} ADDs at once", figures.percentile(values, 0.5)
        yield f"{who:<44} {middle:7.0f}  ({min(values):.0f} to {max(values):.0f})"


def _line(name: str, key: str, costs: contest.Costs) -> str:
    return f"{name:<29} " + "  ".join(_three(costs.get(f"{key}_{kind}")) for kind in ("add", "del", "cpu"))


def _three(values: Sequence[float] | None) -> str:
    if values is None:
        return f"{'':23}"
    return " ".join(f"{figures.percentile(values, share):7.1f}" for share in SHARES.values())


def _medians(costs: Mapping[str, Sequence[float]]) -> Mapping[str, float]:
    return {key: figures.percentile(values, 0.5) for key, values in costs.items()}
