"""Services at the socket: loading and changing the table, and what a connection by a Service costs beside a bare one.

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
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.linux import netns
from sriov_cni.dataplane import services
from tests.kernel import namespaces
from tests.sriov_cni.dataplane import bpf

SERVICES, BACKENDS, CHANGES, CONNECTIONS = 10_000, 10, 300, 3000
_POD, _FAR, _CLUSTER_IP = "10.244.0.2", "10.244.0.3", "10.96.255.1"


def measure(count: int = SERVICES, changes: int = CHANGES, connections: int = CONNECTIONS) -> list[figures.Figure]:
    """Measure with `count` Services; takes some seconds."""
    with _pinned() as pins, bpf.translator(pins) as translator:
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
    with _network() as (pod, far), netns.entered(far.handle), socket.create_server((_FAR, 0), backlog=64) as server:
        port = server.getsockname()[1]
        by_service, bare = (_CLUSTER_IP, 80), (_FAR, port)
        translator.apply(TableChange((Service(Frontend(*by_service, Protocol.TCP), (Endpoint(*bare),)),)))
        admitted = _milliseconds(lambda: translator.admit(netns.cookie(pod.handle)))
        taken: dict[tuple[str, int], list[float]] = {bare: [], by_service: []}
        with netns.entered(pod.handle):
            for _ in range(connections):
                for where, times in taken.items():
                    times.append(_connected(where, server))
    [plain, translated] = [figures.percentile(times, 0.5) for times in taken.values()]
    return [
        figures.Figure("admit_ms", admitted, None, "the part of an ADD, once"),
        figures.Figure("bare_connect_us_p50", plain * 1000),
        figures.Figure("service_connect_us_p50", translated * 1000),
        figures.Figure("service_over_bare", translated / plain, 1.05, "connect, in one run"),
    ]


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
