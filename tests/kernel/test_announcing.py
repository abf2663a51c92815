"""Neighbours learn a pod's addresses after an ADD, on real interfaces (root)."""

import contextlib
import ipaddress
import pathlib
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from sriov.attachment import announcing
from sriov.linux import netlink, netns
from tests.kernel import namespaces

pytestmark = pytest.mark.root
ADDRESS = ipaddress.IPv4Interface("192.0.2.7/24")


@contextlib.contextmanager
def two_interfaces() -> Iterator[tuple[namespaces.Namespace, namespaces.Namespace, dict[str, socket.socket]]]:
    """A pod with eth0 and net1, and a socket at the far end of each."""
    with namespaces.made("pod") as pod, namespaces.made("far") as far, contextlib.ExitStack() as stack:
        heard = {}
        for name in ("eth0", "net1"):
            create = ["ip", "-n", pod.name, "link", "add", name, "type", "veth", "peer", "name", f"far-{name}"]
            subprocess.run([*create, "netns", far.name], check=True)
            with netns.entered(far.handle):
                listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            listening.bind((f"far-{name}", 3))
            listening.settimeout(5)
            heard[name] = stack.enter_context(listening)
        subprocess.run(["ip", "-n", pod.name, "link", "set", "eth0", "up"], check=True)
        subprocess.run(["ip", "-n", far.name, "link", "set", "far-eth0", "up"], check=True)
        yield pod, far, heard


def frames(listening: socket.socket, protocol: int, seconds: float = 3) -> Iterator[bytes]:
    deadline = time.monotonic() + seconds
    listening.settimeout(0.2)
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # nothing yet, or the interface was down
            frame = listening.recv(2048)
            if struct.unpack_from("!H", frame, 12)[0] == protocol:
                yield frame


def test_c_a_gratuitous_arp_leaves_by_its_interface_when_there_is_a_carrier() -> None:
    with two_interfaces() as (pod, far, heard), contextlib.closing(netlink.Netlink()) as net:
        subprocess.run(["ip", "-n", pod.name, "link", "set", "net1", "up"], check=True)
        with net.inside(pod.handle) as inner:
            link = inner.link("net1")
            with contextlib.closing(announcing.Announcer(pod.handle, link, [ADDRESS])) as announcer:
                assert not announcer.is_ready()
                subprocess.run(["ip", "-n", far.name, "link", "set", "far-net1", "up"], check=True)
                deadline = time.monotonic() + 5
                while not announcer.is_ready():
                    assert time.monotonic() < deadline
                announcer.send()
        frame = next(frames(heard["net1"], 0x0806))
        mac = bytes.fromhex(link.address.replace(":", ""))
        assert frame[:14] == b"\xff" * 6 + mac + b"\x08\x06"
        assert frame[14:42] == announcing.arp(mac, ADDRESS.ip)[14:]
        assert not any(True for _ in frames(heard["eth0"], 0x0806, 0.3))


def test_f42_the_kernel_advertises_an_ipv6_address_on_its_own_interface() -> None:
    with two_interfaces() as (pod, far, heard), contextlib.closing(netlink.Netlink()) as net:
        with net.inside(pod.handle) as inner:
            link = inner.link("net1")
            address = ipaddress.ip_interface("2001:db8::7/64")
            announcing.advertise_ipv6(pod.handle, "net1")
            for end, name in ((pod, "net1"), (far, "far-net1")):
                subprocess.run(["ip", "-n", end.name, "link", "set", name, "up"], check=True)
            inner.add_address(link.index, address)
        advertisements = (each for each in frames(heard["net1"], 0x86DD, 6) if len(each) > 78 and each[54] == 136)
        assert any(each[62:78] == address.ip.packed for each in advertisements)


def test_f42_in_a_container_whose_proc_sys_is_read_only(tmp_path: pathlib.Path) -> None:
    """The DaemonSet mounts the host's elsewhere: what it shows is the thread's namespace, not the mount's."""
    with two_interfaces() as (pod, _, _), contextlib.closing(netlink.Netlink()) as net:
        with net.inside(pod.handle) as inner:
            link = inner.link("net1")
        subprocess.run(["mount", "--bind", announcing.SYSCTLS, tmp_path], check=True)
        try:
            address = ipaddress.IPv6Interface("2001:db8::7/64")
            announcing.Announcer(pod.handle, link, [address], tmp_path).close()
        finally:
            subprocess.run(["umount", tmp_path], check=True)
        with netns.entered(pod.handle):
            assert (announcing.SYSCTLS / "ipv6/conf/net1/ndisc_notify").read_text() == "1\n"


def test_an_interface_that_is_gone_is_an_oserror() -> None:
    with two_interfaces() as (pod, _, _), contextlib.closing(netlink.Netlink()) as net:
        with net.inside(pod.handle) as inner:
            announcer = announcing.Announcer(pod.handle, inner.link("net1"), [ADDRESS])
        subprocess.run(["ip", "-n", pod.name, "link", "del", "net1"], check=True)
        with contextlib.closing(announcer), pytest.raises(OSError, match="No such device"):
            announcer.is_ready()
