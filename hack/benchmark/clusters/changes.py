"""From a change in the API server to the sockets of 100 pods, by the real agent and the real daemon, and their memory.

The API server is a stand-in on a real socket, with TLS and a certificate of its own authority, as a pod's agent has it.
"""

import asyncio
import contextlib
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from hack.benchmark import figures
from hack.benchmark.stages import stage
from sriov import devices, settings
from sriov.linux import netns
from sriov.state import ledger
from tests.kernel import namespaces
from tests.sriov_agent import apiserver, cluster, processes
from tests.sriov_cni.dataplane import bpf

PODS = 100
_CHANGED, _LOOPBACK = "10.96.255.254", "127.0.0.1"
_SECONDS = 120  # until all is loaded


class Cluster:
    """The API server, in a thread of its own."""

    def __init__(self, services: int, backends: int) -> None:
        self._loop = asyncio.new_event_loop()
        self.api = apiserver.StandIn()
        for number in range(services):
            self._put(f"service-{number}", f"10.96.{number >> 8}.{number & 255}", _endpoints(number, backends))
        self._put("changed", _CHANGED, [])

    def _put(self, name: str, address: str, endpoints: list[cluster.Json]) -> None:
        self.do(self.api.put(cluster.service(name, clusterIP=address, ports=({"port": 80, "protocol": "UDP"},))))
        self.endpoints(name, endpoints)

    def endpoints(self, name: str, endpoints: list[cluster.Json]) -> None:
        port = [{"name": "", "protocol": "UDP", "port": 8080}]
        self.do(self.api.put(cluster.endpoint_slice(*endpoints, name=f"{name}-abcde", of=name, ports=port)))

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(work, self._loop).result()
        else:
            self._loop.run_until_complete(work)

    @contextlib.contextmanager
    def serving(self, folder: pathlib.Path) -> Iterator[int]:
        """Yield the port; the authority's certificate is in the folder, as in a service account's."""
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(processes.certificate(folder))
        ready, port = threading.Event(), list[int]()

        async def serve() -> None:
            async with self.api.serving(tls=tls) as found:
                port.append(found)
                ready.set()
                await stop.wait()
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)  # watches notice in half a second that their connection has gone

        stop = asyncio.Event()
        thread = threading.Thread(target=self._loop.run_until_complete, args=(serve(),))
        thread.start()
        ready.wait()
        try:
            yield port[0]
        finally:
            self._loop.call_soon_threadsafe(stop.set)
            thread.join()
            self._loop.close()


def measure(pins: pathlib.Path, services: int, backends: int, changes: int) -> list[figures.Figure]:
    """Measure with programs pinned in the folder; takes half a minute with 10,000 Services."""
    made = Cluster(services, backends)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(stage.folder())
        places = (f"--cluster-socket={folder / 'agent.sock'}", f"--cluster-snapshot={folder / 'services'}")
        options = (f"--services={pins}", f"--cgroup-root={bpf.cgroup()}", "--sysfs=/nowhere", *places)
        [daemon, _] = stack.enter_context(stage.daemons(folder, None, "sriov_cni", *options))
        port = stack.enter_context(made.serving(folder))
        pid = stack.enter_context(agent(folder, port))
        sockets = stack.enter_context(_pods(pins, ledger.Ledger(folder / "run")))
        taken = [_change(made, sockets, there=not number % 2) for number in range(changes + 1)]
        return [
            figures.Figure("agent_rss_mb", memory(pid, "VmRSS"), 80, f"{services} Services of {backends} endpoints"),
            figures.Figure("agent_peak_mb", memory(pid, "VmHWM")),
            figures.Figure("daemon_rss_mb", memory(daemon.pid, "VmRSS"), None, "with the same table"),
            figures.Figure("effect_ms_p50", figures.percentile(taken[1:], 0.5)),
            figures.Figure("effect_ms_p99", figures.percentile(taken[1:], 0.99), 50, f"API server to {PODS} pods"),
        ]


def _endpoints(number: int, count: int) -> list[cluster.Json]:
    ready = {"ready": True, "serving": True, "terminating": False}
    return [
        cluster.endpoint(f"10.{each}.{number >> 8}.{number & 255}", node=f"node-{(number + each) % 100}", **ready)
        for each in range(count)
    ]


@contextlib.contextmanager
def agent(folder: pathlib.Path, port: int, *more: str) -> Iterator[int]:
    """Start one, with these flags too; yields its PID."""
    (folder / "token").write_text("token")
    (folder / "namespace").write_text("kube-system")
    options = (f"--node={cluster.NODE}", f"--cluster-socket={folder / 'agent.sock'}", f"--service-account-dir={folder}")
    environment = {"KUBERNETES_SERVICE_HOST": _LOOPBACK, "KUBERNETES_SERVICE_PORT": str(port), "PYTHONPATH": "."}
    command = [sys.executable, "-P", "-m", "sriov_agent", *options, *more, "--log-level=error"]
    with subprocess.Popen(command, cwd=stage.ROOT, env=environment) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


@contextlib.contextmanager
def _pods(pins: pathlib.Path, book: ledger.Ledger) -> Iterator[list[socket.socket]]:
    """Pods of this node; yields a datagram socket of each, whose connect shows at once what the kernel has."""
    with contextlib.ExitStack() as stack, bpf.translator(pins) as table:
        made = []
        for number in range(PODS):
            pod = stack.enter_context(namespaces.made("pod"))
            subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)
            book.write(_record(number, netns.cookie(pod.handle)))
            table.admit(netns.cookie(pod.handle))
            with netns.entered(pod.handle):
                made.append(stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        yield made


def _record(number: int, cookie: int) -> ledger.Record:
    """The daemon's of a VF without a netdev: it forgets a namespace of which it has none."""
    pci = devices.pci_address(f"0000:{1 + number // 8:02x}:00.{number % 8}")
    owner = ledger.Owner(container_id=f"pod{number}", ifname="net1", network="n1", netns="/run/netns/pod")
    return ledger.Record(pci=pci, owner=owner, netns=(0, 0), home=None, wanted=settings.BASELINE, mtu=0, cookie=cookie)


def _change(made: Cluster, sockets: list[socket.socket], there: bool) -> float:
    """Have the Service get its endpoint, or lose it; returns the milliseconds until every pod has noticed."""
    began = time.perf_counter()
    made.endpoints("changed", [cluster.endpoint(_LOOPBACK)] if there else [])
    for each in sockets:
        while _is_served(each) != there:
            if time.perf_counter() - began > _SECONDS:
                raise TimeoutError(f"no pod has noticed a change for {_SECONDS} s")
            time.sleep(0.0005)
    return (time.perf_counter() - began) * 1000


def _is_served(client: socket.socket) -> bool:
    try:
        client.connect((_CHANGED, 80))
    except OSError:
        return False
    return True


def memory(pid: int, what: str) -> float:
    """MB of 2^20 bytes, by proc_pid_status(5)."""
    [found] = re.findall(rf"^{what}:\s+(\d+) kB$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found) / 1024
