"""Services at the socket: loading and changing the table, a connection by a Service beside a bare one, an ADD with
Services beside one without, agent and daemon with a table of that size, and a change on its way to 100 pods.

Two namespaces with a veth pair are a pod and a backend. Bare connections and those by a Service alternate in one run,
and the table is full meanwhile. Needs root and cgroup v2.
"""

import contextlib
import pathlib
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

from hack.benchmark import figures
from hack.benchmark.clusters import adds as add_calls
from hack.benchmark.clusters import changes as changes_of_a_cluster
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.linux import netns
from sriov_cni.dataplane import services
from tests.kernel import namespaces
from tests.sriov_cni.dataplane import bpf

SERVICES, BACKENDS, CHANGES, CONNECTIONS, ADDS = 10_000, 10, 300, 3000, 200
_BURST = 50  # connections of which the rate is taken at once
_POD, _FAR, _CLUSTER_IP = "10.244.0.2", "10.244.0.3", "10.96.255.1"


def measure(
    count: int = SERVICES, changes: int = CHANGES, connections: int = CONNECTIONS, adds: int = ADDS
) -> list[figures.Figure]:
    """Measure with `count` Services; takes a minute."""
    with _pinned() as pins:
        table = _of_the_table(pins, count, changes, connections)
    with _pinned() as pins:
        added = add_calls.measure(pins, adds)
    with _pinned() as pins:
        return [*table, *added, *changes_of_a_cluster.measure(pins, count, BACKENDS, changes)]


def _of_the_table(pins: pathlib.Path, count: int, changes: int, connections: int) -> list[figures.Figure]:
    with bpf.translator(pins) as translator:
        table = _table(count)
        loaded = _milliseconds(lambda: translator.apply(table))
        return [
            figures.Figure("services", count, None, f"{BACKENDS} backends each"),
            figures.Figure("load_ms", loaded, 2000),
            figures.Figure("kernel_mb", _kernel_memory() / 1e6, 15, "all maps, for all pods of the node"),
            *_changes(translator, table, changes),
            *_connections(translator, connections),
        ]


@contextlib.contextmanager
def _pinned() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory() as folder, bpf.mounted(pathlib.Path(folder, "bpf")) as pins:
        yield pins
        services.remove(pins)


def _table(count: int) -> TableChange:
    def backends(number: int) -> tuple[Endpoint, ...]:
        return tuple(Endpoint(f"10.{each}.{number >> 8}.{number & 255}", 8080) for each in range(BACKENDS))

    def frontend(number: int) -> Frontend:
        return Frontend(f"10.96.{number >> 8}.{number & 255}", 80, Protocol.TCP)

    return TableChange(tuple(Service(frontend(number), backends(number)) for number in range(count)), whole=True)


def _changes(translator: services.Translator, table: TableChange, changes: int) -> list[figures.Figure]:
    one = [TableChange((service,)) for service in table.services[:changes]]
    taken = [_milliseconds(lambda change=each: translator.apply(change)) for each in one]  # type: ignore[misc]
    return [
        figures.Figure("change_ms_p50", figures.percentile(taken, 0.5)),
        figures.Figure("change_ms_p99", figures.percentile(taken, 0.99), 50, "one Service's backends"),
    ]


def _connections(translator: services.Translator, connections: int) -> list[figures.Figure]:
    """Measure in bursts, in turns. A further way to a Service, such as the host's hop, is one more of `ways`."""
    with _network() as (pod, far), netns.entered(far.handle), socket.create_server((_FAR, 0), backlog=64) as server:
        port = server.getsockname()[1]
        ways = {"bare": (_FAR, port), "service": (_CLUSTER_IP, 80)}
        served = Service(Frontend(*ways["service"], Protocol.TCP), (Endpoint(*ways["bare"]),))
        translator.apply(TableChange((served,)))
        admitted = _milliseconds(lambda: translator.admit(netns.cookie(pod.handle)))
        connects: dict[str, list[float]] = {way: [] for way in ways}
        bursts: dict[str, list[float]] = {way: [] for way in ways}
        with netns.entered(pod.handle):
            for _ in range(max(1, connections // _BURST)):
                for way, where in ways.items():
                    began = time.perf_counter()
                    connects[way] += [_connected(where, server) for _ in range(_BURST)]
                    bursts[way].append(time.perf_counter() - began)
    return [
        figures.Figure("admit_ms", admitted, None, "the part of an ADD, once"),
        *_compared(connects, bursts),
    ]


def _compared(connects: dict[str, list[float]], bursts: dict[str, list[float]]) -> Iterator[figures.Figure]:
    """Return each way's figures, and how many times as long as the bare way the others take."""
    for way, times in connects.items():
        yield figures.Figure(f"{way}_connect_us_p50", figures.percentile(times, 0.5) * 1000)
    for way, seconds in bursts.items():
        yield figures.Figure(f"{way}_connections_per_s", _BURST / figures.percentile(seconds, 0.5))
    for way in connects.keys() - {"bare"}:
        one, whole = (
            figures.percentile(taken[way], 0.5) / figures.percentile(taken["bare"], 0.5) for taken in (connects, bursts)
        )
        yield figures.Figure(f"{way}_over_bare", one, 1.05, "connect, in one run")
        yield figures.Figure(f"bare_over_{way}_per_s", whole, 1.05, "connections per second, with accept and close")


def _connected(where: tuple[str, int], server: socket.socket) -> float:
    with socket.socket() as client:
        taken = _milliseconds(lambda: client.connect(where))
        server.accept()[0].close()
    return taken


@contextlib.contextmanager
def _network() -> Iterator[tuple[namespaces.Namespace, namespaces.Namespace]]:
    with namespaces.made("pod") as pod, namespaces.made("far") as far:
        pair = ["ip", "-n", pod.name, "link", "add", "net1", "type", "veth", "peer", "name", "net1", "netns", far.name]
        subprocess.run(pair, check=True)
        for each, address in ((pod, _POD), (far, _FAR)):
            subprocess.run(["ip", "-n", each.name, "addr", "add", f"{address}/24", "dev", "net1"], check=True)
            subprocess.run(["ip", "-n", each.name, "link", "set", "net1", "up"], check=True)
        yield pod, far


def _kernel_memory() -> int:
    """Bytes that the kernel accounts for the maps (bpf_map_show_fdinfo() in kernel/bpf/syscall.c)."""
    found = 0
    for path in list(pathlib.Path("/proc/self/fdinfo").iterdir()):
        with contextlib.suppress(FileNotFoundError):
            text = path.read_text()
            if "map_type" in text:
                found += int(re.findall(r"^memlock:\s+(\d+)$", text, re.MULTILINE)[0])
    return found


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
