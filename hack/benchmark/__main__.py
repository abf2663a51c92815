"""`hack/bench PART`: runs one part's measurements, prints them beside their targets, and writes them as JSON.

Figures are this machine's, at this moment; the targets are for an idle machine of two CPUs.
"""

import argparse
import json
import pathlib
import sys

from hack.benchmark import figures, host_link, hostsettings, metrics, policy, rest, scale, services
from hack.benchmark.attach import contenders, contest, plot, report
from hack.benchmark.kubelet import deviceplugin, dra
from hack.benchmark.stages import igbs, veths
from hack.benchmark.traffic import contest as traffic_contest
from hack.benchmark.traffic import plot as traffic_plot
from hack.benchmark.traffic import report as traffic_report
from hack.guest import errors
from sriov.hardware import sysfs


def _attach(flags: argparse.Namespace) -> list[figures.Figure]:
    beside = flags.beside
    opened = igbs.opened(sysfs.Tree(), beside) if flags.igb else veths.opened(contest.BURST, beside=beside)
    taken = contest.measure(opened, flags.rounds or contest.ROUNDS, alone=flags.alone)
    print(*report.table(taken), sep="\n")
    if flags.plot is not None:
        plot.draw(taken, flags.plot)
    return [*report.ratios(taken), *report.raw(taken)]


def _deviceplugin(flags: argparse.Namespace) -> list[figures.Figure]:
    return deviceplugin.measure(*(32, 2) if flags.small else ())


def _dra(flags: argparse.Namespace) -> list[figures.Figure]:
    return dra.measure(*(70, 10, 3) if flags.small else ())


def _scale(flags: argparse.Namespace) -> list[figures.Figure]:
    return scale.measure(flags.rounds or contest.ROUNDS, *((1, 2, 4), (2, 3)) if flags.small else ())


def _metrics(flags: argparse.Namespace) -> list[figures.Figure]:
    return metrics.measure(*(2, 32) if flags.small else ())


def _host(flags: argparse.Namespace) -> list[figures.Figure]:
    return hostsettings.measure(flags.rounds or contest.ROUNDS)


def _host_link(flags: argparse.Namespace) -> list[figures.Figure]:
    return host_link.measure(*(5,) if flags.small else ())


def _rest(flags: argparse.Namespace) -> list[figures.Figure]:
    return rest.measure(flags.beside, *(2, 1) if flags.small else ())


def _services(flags: argparse.Namespace) -> list[figures.Figure]:
    return services.measure(*(100, 10, 50, 3) if flags.small else ())


def _policy(flags: argparse.Namespace) -> list[figures.Figure]:
    return policy.measure(*(5, 2, 10, 5) if flags.small else ())


def _traffic(flags: argparse.Namespace) -> list[figures.Figure]:
    rounds, seconds = (1, 1) if flags.small else (flags.rounds or traffic_contest.ROUNDS, traffic_contest.SECONDS)
    taken = traffic_contest.measure(sysfs.Tree(), rounds, seconds)
    print(*traffic_report.table(taken), sep="\n")
    if flags.plot is not None:
        traffic_plot.draw(taken, flags.plot)
    return traffic_report.medians(taken)


_PARTS = {
    "attach": _attach,
    "deviceplugin": _deviceplugin,
    "dra": _dra,
    "host": _host,
    "host-link": _host_link,
    "metrics": _metrics,
    "policy": _policy,
    "rest": _rest,
    "scale": _scale,
    "services": _services,
    "traffic": _traffic,
}


def main() -> int:
    parser = argparse.ArgumentParser("hack/bench", description=__doc__)
    parser.add_argument("part", choices=_PARTS)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    parser.add_argument(
        "--rounds",
        type=_count,
        help=f"attach, host: pairs; scale: hundreds ({contest.ROUNDS}); traffic ({traffic_contest.ROUNDS})",
    )
    parser.add_argument("--small", action="store_true", help="all but attach and host: short, to see whether it runs")
    parser.add_argument(
        "--plot", type=pathlib.Path, metavar="FILE", help="attach, traffic: draw the figures there, as PNG"
    )
    parser.add_argument("--igb", action="store_true", help="attach: with the VFs of this machine, the lab's guest")
    parser.add_argument(
        "--beside",
        type=_checkout,
        metavar="CHECKOUT",
        help="attach, rest: set beside that of another checkout, in one run",
    )
    parser.add_argument("--alone", action="store_true", help="attach --beside: only the two checkouts, in less time")
    flags = parser.parse_args()
    if flags.alone and (flags.beside is None or flags.plot is not None):
        parser.error("--alone compares with --beside CHECKOUT, and draws no --plot FILE")
    try:
        taken = _PARTS[flags.part](flags)
    except (errors.LabError, contenders.BrokenRunError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for line in figures.table(taken):
        print(line)
    if flags.json is not None:
        flags.json.write_text(json.dumps({one.key: one.value for one in taken}, indent=1) + "\n")
    return 1 if flags.check and any(one.missed for one in taken) else 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds, of which there is at least one")
    return int(text)


def _checkout(text: str) -> pathlib.Path:
    root = pathlib.Path(text).resolve()
    for path in (contenders.shim_sources(root) / "shim.c", root / "hack/benchmark/veth_daemon.py"):
        if not path.is_file():
            missing = path.relative_to(root)
            raise argparse.ArgumentTypeError(f"{text!r} is no checkout of this project: it has no {missing}")
    return root


if __name__ == "__main__":
    sys.exit(main())
