"""A node of which the daemon may die: a pod that stands, its two servers, and the Service that leads to one of them."""

import contextlib
import json
import pathlib
import select
import signal
import socket
import subprocess
from collections.abc import Iterator

from sriov.cluster import frames
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.linux import netns
from sriov.linux.bpf.programs import ATTACH_TYPES
from sriov.state import ledger
from sriov_cni.dataplane import service_maps, services, table_store
from tests.fakes import mock_node
from tests.kernel import mortal, namespaces
from tests.sriov_cni import harness
from tests.sriov_cni.dataplane import bpf

STANDING, PASSING = "0000:01:10.0", "0000:01:10.2"
CLUSTER_IP = ("10.96.0.1", 80)
LOOPBACK = "127.0.0.1"
MAPS = {"pods", "services", "backends", "members", "affinity", "frontends"}


class Stage:
    """A node with a pod that stands, which has two servers, and a daemon or none."""

    def __init__(self, folder: pathlib.Path, stack: contextlib.ExitStack, vfs: int = 2) -> None:
        self.folder, self.run_dir = folder, folder / "run"
        self.node = stack.enter_context(contextlib.closing(mock_node.MockNode(folder, pfs=1, vfs=vfs)))
        self.vfs = sorted(self.node.state.read())
        self.pins = stack.enter_context(bpf.mounted(folder / "bpf"))
        stack.callback(services.remove, self.pins)
        self.nursery = mortal.Nursery(self.node, folder, mortal.preloaded(folder))
        stack.callback(self.nursery.close)
        self.pod = stack.enter_context(namespaces.made("standing"))
        self.servers = [stack.enter_context(serving(self.pod)) for _ in range(2)]
        self.daemon = 0

    def flags(self) -> list[str]:
        told = {"--run-dir": self.run_dir, "--sysfs": self.node.sysfs_root, "--services": self.pins}
        told |= {"--cgroup-root": bpf.cgroup(), "--cluster-socket": self.folder / "agent.sock"}
        told |= {"--cluster-snapshot": self.folder / "services"}
        told |= dict.fromkeys(("--policy", "--predecessor-dir", "--pod-resources-socket"), self.folder / "none")
        return [str(word) for pair in told.items() for word in pair]

    def start(self) -> None:
        """Start a daemon in the place of the one that there was; returns when it serves, or has died."""
        self.stop()
        for name in ("run/cni.sock", "agent.sock"):
            (self.folder / name).unlink(missing_ok=True)
        self.daemon = self.nursery.start("daemon", *self.flags())
        assert namespaces.until(lambda: (self.run_dir / "cni.sock").exists() or self.is_dead)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.daemon:
            self.nursery.end(self.daemon, number)
        self.daemon = 0

    @property
    def is_dead(self) -> bool:
        return mortal.state(self.daemon) == "Z"

    def call(self, command: str, vf: str, pod: namespaces.Namespace) -> bool:
        """Whether there was an answer, which then has to be a success."""
        owner = {"CONTAINERID": vf.replace(":", "-"), "NETNS": pod.path, "IFNAME": "net1"}
        stdin = json.dumps(harness.configuration(vf, services="socket")).encode()
        try:
            harness.call_without_a_process(self.run_dir / "cni.sock", stdin, COMMAND=command, PATH="/", **owner)
        except (EOFError, OSError):
            return False
        return True

    def tell(self, table: TableChange) -> None:
        """Send the table as an agent does; returns when the daemon has taken it, or has died."""
        with socket.socket(socket.AF_UNIX) as agent, contextlib.suppress(ConnectionError):
            agent.settimeout(20)
            agent.connect(str(self.folder / "agent.sock"))
            agent.sendall(frames.encoded(table))
            agent.shutdown(socket.SHUT_WR)
            agent.recv(1)

    def served_by(self) -> int:
        """Which of its servers the standing pod reaches by the Service; it always reaches one."""
        return connected(self.pod, self.servers)

    def table(self, server: int) -> TableChange:
        """A Service with that server, and others, of which some are in one table and not in the other."""
        port, other = self.servers[server].getsockname()[1], Endpoint("10.1.0.1", 53)
        wanted = Service(Frontend(*CLUSTER_IP, Protocol.TCP), (Endpoint(LOOPBACK, port),))
        others = [
            Service(Frontend("10.96.1.1", number, Protocol.UDP), (other,) * (number % 3), number % 2)
            for number in range(1 + server * 5, 11 + server * 5)
        ]
        return TableChange((wanted, *others), whole=True)

    def records(self) -> set[str]:
        return {record.pci for record in ledger.Ledger(self.run_dir).records()}

    def admitted(self) -> dict[bytes, bytes]:
        """The kernel's map of the namespaces whose sockets reach Services."""
        return self._entries("pods", service_maps.POD)

    def assert_alone(self) -> None:
        """The standing pod's namespace is the only one there: a daemon's own is, for a moment."""
        wanted = {service_maps.pod(netns.cookie(self.pod.handle)): service_maps.pod_space(service_maps.PODS)}
        assert namespaces.until(lambda: self.admitted() == wanted), self.admitted()

    def assert_whole(self, table: TableChange) -> None:
        """The kernel has the table and nothing else, the standing pod alone, and every pin once."""
        self.assert_alone()
        found = self._entries("services", service_maps.SERVICE)
        known = {key: service_maps.read_entry(value) for key, value in found.items() if not service_maps.space(key)}
        wanted = {service_maps.frontend(each.frontend): each for each in table.services}
        assert {key: (each.count, each.affinity) for key, each in known.items()} == {
            key: (len(each.backends), each.affinity) for key, each in wanted.items()
        }
        members = [service_maps.members(each, known[key].identity) for key, each in wanted.items()]
        assert {*self._entries("members", service_maps.MEMBER)} == {key for each in members for key, _ in each}
        assert {path.name for path in (self.pins / services.LAYOUT).iterdir()} == {*ATTACH_TYPES} | MAPS

    def _entries(self, name: str, lengths: tuple[int, int]) -> dict[bytes, bytes]:
        with bpf.pinned(self.pins, name, lengths) as found:
            return dict(found.entries())

    def written(self) -> TableChange | None:
        """The snapshot."""
        found = table_store.Snapshot(self.folder / "services").read()
        return None if found is None else TableChange(found.services, whole=True)


@contextlib.contextmanager
def serving(pod: namespaces.Namespace) -> Iterator[socket.socket]:
    """A server in the pod, at its loopback: there is no other network on the way to it."""
    subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)
    with netns.entered(pod.handle):
        server = socket.create_server((LOOPBACK, 0))
    server.setblocking(False)
    with server:
        yield server


def connected(pod: namespaces.Namespace, servers: list[socket.socket]) -> int:
    with netns.entered(pod.handle):
        client = socket.socket()
    with client:
        client.settimeout(5)
        client.connect(CLUSTER_IP)
        for server in select.select(servers, [], [], 20)[0]:  # its end of the handshake may come later
            server.accept()[0].close()
            return servers.index(server)
    raise AssertionError("the connection came to nobody")


def is_translated(pod: namespaces.Namespace) -> bool:
    """Whether the pod's sockets reach Services: their backend, at its loopback, is in another pod."""
    with netns.entered(pod.handle):
        client = socket.socket()
    with client:
        try:
            client.connect(CLUSTER_IP)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    raise AssertionError("somebody else is there")


def is_served(stage: Stage, number: int) -> bool:
    """The same of the standing pod while its Services may not be there yet."""
    with contextlib.suppress(OSError):
        return stage.served_by() == number
    return False
