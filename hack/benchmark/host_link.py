"""Host link: an ADD with `hostLink` beside one without, in one run (`stages.rounds`).

For pods with IPv4, IPv6, and both. Veths are the VFs, and the answer of the IPAM plugin is there at once, so that
nothing but the daemon and the kernel counts. Duplicate detection is off in the pods: with IPv6 it takes one to two
seconds of each ADD, with a host link or without. Needs root.
"""

import functools
import json
import pathlib
import subprocess
import time

from hack.benchmark import figures
from hack.benchmark.stages import rounds, stage, veths
from sriov.linux import netns
from tests.kernel import namespaces
from tests.sriov_cni import harness

PAIRS = 400
_WARM = 5  # pairs, until the daemon has imported what it needs
_NODE = {4: "192.0.2.10/24", 6: "2001:db8:2::10/64"}
_POD = {4: "10.123.0.5/16", 6: "2001:db8:1::5/64"}
_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
_VIA = {4: "198.51.100.0/24", 6: "2001:db8:51::/48"}
_FAMILIES: dict[str, tuple[int, ...]] = {"": (4,), "ipv6_": (6,), "both_": (4, 6)}
"""IP versions of the pods, by the beginning of their figures' names."""
_KINDS = ("without", "with")


def measure(pairs: int = PAIRS) -> list[figures.Figure]:
    """Measure so many ADDs of each kind, in turns."""
    with veths.opened(1) as bench:
        _give_the_node_addresses()
        ways = {
            (family, kind): functools.partial(_add, bench, versions, kind == "with")
            for family, versions in _FAMILIES.items()
            for kind in _KINDS
        }
        taken = rounds.taken(ways, pairs, _WARM)
    return [each for family in _FAMILIES for each in _figures(family, *(taken[family, kind] for kind in _KINDS))]


def _give_the_node_addresses() -> None:
    lines = ("link add up0 type bridge", f"address add {_NODE[4]} dev up0", f"address add {_NODE[6]} dev up0 nodad")
    for line in (*lines, "link set up0 up"):
        subprocess.run(["ip", *line.split()], check=True)


def _figures(family: str, without: list[float], linked: list[float]) -> list[figures.Figure]:
    found = [figures.Figure(f"{family}host_link_adds_ms_p50", rounds.more(linked, without), 4.0)]
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        one, other = figures.percentile(without, share), figures.percentile(linked, share)
        found += [
            figures.Figure(f"{family}add_ms_{name}", one),
            figures.Figure(f"{family}add_with_host_link_ms_{name}", other),
            figures.Figure(f"{family}host_link_ratio_{name}", other / one),
        ]
    return found


def _add(bench: stage.Stage, versions: tuple[int, ...], linked: bool, pod: namespaces.Namespace) -> float:
    """Return milliseconds of the ADD."""
    [link] = bench.links
    with netns.entered(pod.handle):
        pathlib.Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
    keys = {"hostLink": True, "viaHost": [_VIA[each] for each in versions]} if linked else {}
    ipam = {"type": "static"}
    stdin = json.dumps(harness.configuration(link.pci, cniVersion="1.0.0", ipam=ipam, **keys)).encode()
    ips, routes = [{"address": _POD[each]} for each in versions], [{"dst": _ANYWHERE[each]} for each in versions]
    leased = json.dumps({"cniVersion": "1.0.0", "ips": ips, "routes": routes})
    began = time.perf_counter()
    _call(bench.daemon.socket, "ADD", stdin, pod.path, leased)
    took = (time.perf_counter() - began) * 1000
    _call(bench.daemon.socket, "DEL", stdin, pod.path, leased)
    return took


def _call(socket: pathlib.Path, command: str, stdin: bytes, pod: str, leased: str) -> None:
    env = {"COMMAND": command, "CONTAINERID": "c1", "NETNS": pod, "IFNAME": "net1", "PATH": "/"}
    harness.call_without_a_process(socket, stdin, leased=leased, **env)
