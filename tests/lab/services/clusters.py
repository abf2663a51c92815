"""A small cluster on the guest's VFs: the daemon as on any node, pods whose only network is a VF, and a DNS server.

kube-dns is dnsmasq in a pod of its own, at the ClusterIP that clusters have for it; a pod's resolver is glibc's.
"""

import contextlib
import dataclasses
import json
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

from sriov.cluster import frames
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.linux import netns
from tests.kernel import namespaces
from tests.lab import igb, shims
from tests.sriov_cni import harness

PROJECT = pathlib.Path(__file__).parents[3]
DNS, WEB = {"4": "10.96.0.10", "6": "fd00:96::10"}, {"4": "10.96.0.20", "6": "fd00:96::20"}
DOMAIN = "default.svc.cluster.local"
PORT, OTHER, NAME_PORT = 8080, 8081, 53
_VFS = {"linked": 3, "client": 4, "dns": 5, "web": 6}
_ASK = """
import json, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as made:
    print(json.dumps([made.getpeername()[0], made.getsockname()[0], made.makefile().read()]))
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """`addresses` are the VF's, by IP version."""

    name: str
    namespace: namespaces.Namespace
    addresses: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Connected:
    """One connection as its client saw it; `said` is whom the server saw, and the port that it came to."""

    peer: str
    own: str
    said: str


class Cluster:
    """`folder` holds the daemon's run directory, its socket for the agent, and what the DNS server logs."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.pods: dict[str, Pod] = {}
        self.run_dir = folder / "run"

    def add(self, stack: contextlib.ExitStack, name: str, **keys: object) -> None:
        """Give a VF to a new pod, which has no other network, until the stack ends."""
        number = _VFS[name]
        stack.enter_context(igb.borrowed(number))
        pod = stack.enter_context(namespaces.made(name))
        addresses = {"4": f"10.57.0.{number}", "6": f"fd57::{number}"}
        ipam = {
            "type": "static",
            "addresses": [{"address": f"{addresses['4']}/24"}, {"address": f"{addresses['6']}/64"}],
        }
        mac = f"02:00:00:00:57:0{number}"
        network = harness.configuration(igb.vf(number).pci, cniVersion="1.0.0", mac=mac, ipam=ipam, **keys)
        client = harness.Client(self.run_dir / "cni.sock", "/usr/lib/cni", pod.path, shims.quick())
        answer = client.call("ADD", network, CONTAINERID=name)
        assert answer.code == 0, answer
        stack.callback(lambda: _ends(client.call("DEL", network, CONTAINERID=name)))
        subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)  # the runtime's part
        self.pods[name] = Pod(name, pod, addresses)

    def tell(self, *served: Service) -> None:
        """Send the daemon the whole table, as its agent does; returns when the daemon has it in the kernel."""
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(60)
            agent.connect(str(self.folder / "agent.sock"))
            agent.sendall(frames.encoded(TableChange(served, whole=True)))
            agent.shutdown(socket.SHUT_WR)
            assert agent.recv(1) == b"", "the daemon hangs up when it has taken everything"

    def resolve_by(self, pod: str, *options: str, server: str) -> None:
        """Write the pod's resolv.conf, as the kubelet does."""
        folder = pathlib.Path("/etc/netns", self.pods[pod].namespace.name)
        folder.mkdir(parents=True, exist_ok=True)
        words = " ".join(("ndots:5", "timeout:2", "attempts:10", *options))
        text = f"nameserver {server}\nsearch {DOMAIN} svc.cluster.local cluster.local\noptions {words}\n"
        (folder / "resolv.conf").write_text(text)

    def connect(self, pod: str, name: str, port: int = 80) -> Connected | str:
        """Connect from a process of the pod; returns the error's name if it fails."""
        command = [
            "ip",
            "netns",
            "exec",
            self.pods[pod].namespace.name,
            sys.executable,
            "-IS",
            "-c",
            _ASK,
            name,
            str(port),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1].partition(":")[0]
        return Connected(*json.loads(done.stdout))

    def asked(self) -> str:
        """What the DNS server has logged."""
        return (self.folder / "dns.log").read_text()


def _ends(answer: harness.Answer) -> None:
    assert answer.code == 0, answer


def service(frontend: tuple[str, int], backend: tuple[str, int], protocol: Protocol = Protocol.TCP) -> Service:
    return Service(Frontend(*frontend, protocol), (Endpoint(*backend),))


@contextlib.contextmanager
def opened(folder: pathlib.Path) -> Iterator[Cluster]:
    """A node with the daemon, and three pods: one reaches Services, one is the DNS server, one is the backend `web`."""
    made = Cluster(folder)
    with _daemon(made), contextlib.ExitStack() as stack:
        made.add(stack, "client", services="socket")
        made.add(stack, "dns")
        made.add(stack, "web")
        stack.enter_context(_dns_server(made))
        for port in (PORT, OTHER):
            stack.enter_context(_whoami(made.pods["web"], port))
        yield made


@contextlib.contextmanager
def _daemon(cluster: Cluster) -> Iterator[None]:
    pins = cluster.folder / "bpf"
    pins.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", pins], check=True)
    options = {
        "--run-dir": cluster.run_dir,
        "--policy": cluster.folder / "none",
        "--services": pins,
        "--cluster-socket": cluster.folder / "agent.sock",
        "--cluster-snapshot": cluster.folder / "services",
    }
    words = [str(word) for pair in options.items() for word in pair]
    with subprocess.Popen([sys.executable, "-m", "sriov_cni", *words], cwd=PROJECT) as process:
        try:
            assert namespaces.until((cluster.run_dir / "cni.sock").exists, 60) and process.poll() is None
            yield
        finally:
            process.terminate()
            process.wait()
            subprocess.run(["umount", pins], check=True)  # links and programs end with their pins


@contextlib.contextmanager
def _dns_server(cluster: Cluster) -> Iterator[None]:
    records = [f"--host-record=web.{DOMAIN},{WEB['4']}", f"--host-record=web6.{DOMAIN},{WEB['6']}"]
    options = [
        "--keep-in-foreground",
        "--no-hosts",
        "--no-resolv",
        "--user=root",
        "--log-queries",
        "--conf-file=/dev/null",
    ]
    log = f"--log-facility={cluster.folder / 'dns.log'}"
    command = ["ip", "netns", "exec", cluster.pods["dns"].namespace.name, "dnsmasq", *options, "--pid-file=", log]
    with subprocess.Popen([*command, f"--local=/{DOMAIN}/", "--local=/local/", *records]) as process:
        try:
            assert namespaces.until(lambda: "started" in cluster.asked() if _has_log(cluster) else False)
            yield
        finally:
            process.terminate()


def _has_log(cluster: Cluster) -> bool:
    return (cluster.folder / "dns.log").exists()


@contextlib.contextmanager
def _whoami(pod: Pod, port: int) -> Iterator[None]:
    """A server that tells each client the address from which it has come, and the port."""
    with netns.entered(pod.namespace.handle):
        server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                made, peer = server.accept()
                with made:
                    made.sendall(f"{peer[0].removeprefix('::ffff:')} at {port}".encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        server.close()
