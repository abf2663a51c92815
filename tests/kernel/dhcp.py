"""DHCP as in a real network: Debian's udhcpd in a namespace of its own, and the reference IPAM plugin's daemon."""

import contextlib
import pathlib
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator

from sriov.linux import netns
from tests.fakes import mock_node
from tests.kernel import namespaces

PLUGINS = pathlib.Path("/usr/lib/cni")
GATEWAY = "10.5.0.1"
_MESSAGES = {1: "DISCOVER", 2: "OFFER", 3: "REQUEST", 5: "ACK", 7: "RELEASE"}  # RFC 2132, 9.6
_CONFIGURATION = """
interface srv0
start 10.5.0.50
end 10.5.0.99
lease_file {folder}/leases
pidfile {folder}/udhcpd.pid
option subnet 255.255.255.0
option router 10.5.0.1
option lease 60
# The time after which to renew: two seconds.
option 0x3a 00000002
"""
_LEASE = struct.Struct("!I4s6s20s2x")  # struct dyn_lease in busybox's networking/udhcp/dhcpd.h
_WRITTEN = 8  # bytes before the first: when the file was written


class Server:
    """Server for the VFs of a mock node that are on no VLAN, in `place`. `folder` gets its files."""

    def __init__(self, folder: pathlib.Path, place: namespaces.Namespace) -> None:
        self.messages: list[tuple[str, str]] = []
        self._folder, self._place = folder, place

    def count(self, kind: str, mac: str) -> int:
        """Count DHCP messages of this kind on its wire, from or to this client."""
        return self.messages.count((kind, mac))

    @contextlib.contextmanager
    def serving(self, option: str = "") -> Iterator[None]:
        """Serve until the context ends; `option` is one more that its clients get."""
        path = self._folder / "udhcpd.conf"
        path.write_text(_CONFIGURATION.format(folder=self._folder) + (f"option {option}\n" if option else ""))
        command = ["ip", "netns", "exec", self._place.name, "udhcpd", "-f", "-a", "10", str(path)]
        with self._listening(), running(command) as self._process:
            yield

    def leases(self) -> list[str]:
        """Return the leased addresses, from the file that the server writes when it is told to."""
        path = self._folder / "leases"
        path.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        assert namespaces.until(lambda: path.exists() and path.stat().st_size >= _WRITTEN)
        every = _LEASE.iter_unpack(path.read_bytes()[_WRITTEN:])
        return [socket.inet_ntoa(address) for left, address, _, _ in every if left > 0]

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        with netns.entered(self._place.handle):
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        wire.bind(("srv0", 3))
        wire.settimeout(0.1)
        ended = threading.Event()
        thread = threading.Thread(target=self._listen, args=(wire, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            wire.close()

    def _listen(self, wire: socket.socket, ended: threading.Event) -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                if message := _message(wire.recv(2048)):
                    self.messages.append(message)


@contextlib.contextmanager
def server(folder: pathlib.Path, node: mock_node.MockNode) -> Iterator[Server]:
    with namespaces.made("dhcp") as place:
        _ip("-n", node.name, "link", "add", "vlan0", "type", "bridge")
        _ip("-n", node.name, "link", "add", "port0", "type", "veth", "peer", "name", "srv0", "netns", place.name)
        _ip("-n", node.name, "link", "set", "port0", "master", "vlan0", "up")
        _ip("-n", node.name, "link", "set", "vlan0", "up")
        _ip("-n", place.name, "address", "add", f"{GATEWAY}/24", "dev", "srv0")
        _ip("-n", place.name, "link", "set", "srv0", "up")
        yield Server(folder, place)


@contextlib.contextmanager
def client(folder: pathlib.Path) -> Iterator[str]:
    """Run the daemon that keeps pods' leases; yields its socket, for `daemonSocketPath`."""
    path = folder / "dhcp.sock"
    with running([str(PLUGINS / "dhcp"), "daemon", "-socketpath", str(path)]):
        assert namespaces.until(path.exists)
        yield str(path)


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def _message(frame: bytes) -> tuple[str, str] | None:
    """Return kind and client MAC of a DHCP message (RFC 2131, 2) behind Ethernet, IPv4 without options, and UDP."""
    if frame[12:14] != b"\x08\x00" or frame[23:24] != b"\x11" or frame[278:282] != b"\x63\x82\x53\x63":
        return None
    options, at = frame[282:], 0
    while at + 2 < len(options) and options[at] != 255:
        if options[at] == 53:
            return _MESSAGES.get(options[at + 2], "other"), frame[70:76].hex(":")
        at += 1 if options[at] == 0 else 2 + options[at + 1]
    return None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
