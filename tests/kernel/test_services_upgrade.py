"""Daemon and agent are replaced while a pod makes connections by a Service all along: none fails, none is lost (root).

Endpoints come and go meanwhile, so that the table is changed under the traffic too.
"""

import asyncio
import contextlib
import pathlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from sriov.linux import netns
from tests.deviceplugin import loops
from tests.kernel import mortal_stage, namespaces
from tests.sriov_agent import cluster, processes
from tests.sriov_agent.apiserver import StandIn
from tests.sriov_cni.dataplane import bpf

pytestmark = pytest.mark.root
REPLACED = ({"daemon"}, {"agent"}, {"daemon", "agent"})


class Traffic:
    """Threads of a pod, each of which asks the Service again and again; `failures` are whatever went wrong in one."""

    def __init__(self, pod: namespaces.Namespace) -> None:
        self._pod, self._done = pod, threading.Event()
        self.answered = {"connections": 0, "datagrams": 0, "long-lived": 0}
        self.failures: list[BaseException] = []

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        asking = {"connections": self._connect, "datagrams": self._send, "long-lived": self._stay}
        threads = [threading.Thread(target=self._ask, args=each) for each in asking.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join()

    def made_progress(self) -> Callable[[], bool]:
        """Whether each of them has been answered 50 more times since now, or one has failed."""
        before = dict(self.answered)
        return lambda: bool(self.failures) or all(now >= before[each] + 50 for each, now in self.answered.items())

    def _ask(self, what: str, work: Callable[[], Iterator[None]]) -> None:
        try:
            for _ in work():
                self.answered[what] += 1
                if self._done.is_set():
                    return
        except BaseException as error:  # a thread's failure is the test's
            self.failures.append(error)

    def _connect(self) -> Iterator[None]:
        while True:
            with self._opened(socket.SOCK_STREAM) as client:
                client.connect(mortal_stage.CLUSTER_IP)
                echoed(client)
            yield

    def _stay(self) -> Iterator[None]:
        with self._opened(socket.SOCK_STREAM) as client:
            client.connect(mortal_stage.CLUSTER_IP)
            while True:
                echoed(client)
                yield

    def _send(self) -> Iterator[None]:
        """Each datagram may go to another backend; its answer always comes from the Service."""
        with self._opened(socket.SOCK_DGRAM) as client:
            while True:
                client.sendto(b"still there?", mortal_stage.CLUSTER_IP)
                assert client.recvfrom(99) == (b"still there?", mortal_stage.CLUSTER_IP)
                yield

    def _opened(self, kind: socket.SocketKind) -> socket.socket:
        with netns.entered(self._pod.handle):
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(5)
        return made


def echoed(client: socket.socket) -> None:
    client.sendall(b"still there?")
    assert client.recv(99) == b"still there?"


@contextlib.contextmanager
def echoing(pod: namespaces.Namespace) -> Iterator[list[int]]:
    """Two servers of the pod for both protocols; yields their ports."""
    loop = asyncio.new_event_loop()
    with netns.entered(pod.handle):
        streams = [socket.create_server((mortal_stage.LOOPBACK, 0)) for _ in range(2)]
        ports = [each.getsockname()[1] for each in streams]
        datagrams = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
    for each, port in zip(datagrams, ports, strict=True):
        each.bind((mortal_stage.LOOPBACK, port))

    async def serve() -> None:
        servers = [await asyncio.start_server(_echo, sock=each) for each in streams]
        ends = [await loop.create_datagram_endpoint(_Echo, sock=each) for each in datagrams]
        await stop.wait()
        for server in servers:
            server.close()
        for transport, _ in ends:
            transport.close()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield ports
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(99):
        writer.write(data)
    writer.close()


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


@pytest.fixture
def here(tmp_path: pathlib.Path) -> Iterator[mortal_stage.Stage]:
    bpf.built()
    with contextlib.ExitStack() as stack:
        yield mortal_stage.Stage(tmp_path, stack)


def test_no_connection_is_lost_while_both_are_replaced(here: mortal_stage.Stage) -> None:
    here.start()
    assert here.call("ADD", mortal_stage.STANDING, here.pod)
    traffic = Traffic(here.pod)

    async def body(ports: list[int]) -> None:
        api = StandIn()

        async def endpoints(chosen: list[int]) -> None:
            """A slice has one port for all of its endpoints."""
            for number, port in enumerate(ports):
                named = [{"name": "", "protocol": protocol, "port": port} for protocol in ("TCP", "UDP")]
                member = cluster.endpoint(mortal_stage.LOOPBACK, ready=number in chosen)
                await api.put(cluster.endpoint_slice(member, name=f"web-{number}", ports=named))

        named = [{"name": "", "port": 80, "protocol": protocol} for protocol in ("TCP", "UDP")]
        await api.put(cluster.service(ports=named), cluster.node(("InternalIP", "192.0.2.1")))
        await endpoints([0])
        async with api.serving() as port:
            places = (f"--cluster-socket={here.folder / 'agent.sock'}", processes.kubeconfig(here.folder, port))

            def start_agent() -> int:
                return here.nursery.start("agent", f"--node={cluster.NODE}", *places)

            agent = start_agent()
            await loops.until(lambda: is_answered(here.pod), 20)
            with traffic.going_on():
                for replaced in REPLACED:
                    for chosen in ([0, 1], [1], [0, 1], [0]):
                        await endpoints(chosen)
                        await loops.until(traffic.made_progress(), 20)
                    if "agent" in replaced:
                        assert here.nursery.end(agent, signal.SIGTERM) == 0
                        await loops.until(traffic.made_progress(), 20)
                    if "daemon" in replaced:
                        here.stop(signal.SIGTERM)
                        await loops.until(traffic.made_progress(), 20)
                        here.start()
                    if "agent" in replaced:
                        agent = start_agent()
                    await loops.until(traffic.made_progress(), 20)
            here.nursery.end(agent)

    with echoing(here.pod) as ports:
        loops.run(body(ports), 60)
    assert traffic.failures == []
    assert here.call("DEL", mortal_stage.STANDING, here.pod)


def is_answered(pod: namespaces.Namespace) -> bool:
    with netns.entered(pod.handle):
        client = socket.socket()
    with client, contextlib.suppress(OSError):
        client.connect(mortal_stage.CLUSTER_IP)
        return True
    return False
