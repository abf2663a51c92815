"""Announcements of a pod's addresses, so that no neighbour keeps sending to the MAC that had an address before.

IPv4: gratuitous ARP (RFC 5227, "ARP Announcement") from a packet socket that is bound to the interface, sent when there
is a carrier, and repeated. IPv6: the kernel itself advertises an address when duplicate detection is over, on the right
interface, once ndisc_notify is set (Documentation/networking/ip-sysctl.rst).
"""

import contextlib
import fcntl
import ipaddress
import pathlib
import socket
import struct
from collections.abc import Sequence

from sriov import errors
from sriov.linux import kernel, netns

SYSCTLS = pathlib.Path("/proc/sys/net")
"""Read-only in a container. Whatever the mount, it shows the calling thread's network namespace (proc_sysctl.c)."""
_ETH_P_ARP = 0x0806
_SIOCGIFFLAGS = 0x8913
_SO_MARK = 36  # include/uapi/asm-generic/socket.h
_IFF_RUNNING = 0x40
_MAC = 6  # octets
_BROADCAST = b"\xff" * 6


def enable_ipv6(pod: netns.Netns, name: str, sysctls: pathlib.Path = SYSCTLS) -> None:
    """Clear `disable_ipv6` of this interface and of lo, as the reference plugins do (pkg/ipam/ipam_linux.go).

    `name` becomes part of a path: sriov_cni/spec/environment.py refuses one that may be an alias of a folder.
    Raises UnsupportedError if the sysctl cannot be written.
    """
    with netns.entered(pod):
        for each in ("lo", name):
            path = sysctls / "ipv6/conf" / each / "disable_ipv6"
            try:
                if path.read_text().strip() != "0":
                    path.write_text("0")
            except OSError as error:
                raise errors.UnsupportedError(
                    f"IPv6 is switched off in the pod, and {path} cannot be changed: {error.strerror}",
                    "leave IPv6 addresses out",
                ) from error


def advertise_ipv6(pod: netns.Netns, name: str, sysctls: pathlib.Path = SYSCTLS) -> None:
    """Let the kernel announce this interface's IPv6 addresses. Does nothing if `sysctls` are read-only."""
    path = sysctls / "ipv6/conf" / name / "ndisc_notify"
    with netns.entered(pod), contextlib.suppress(OSError):
        path.write_text("1")


class Announcer:
    """Sends the announcements of one interface. Holds a socket in the pod's namespace until close()."""

    def __init__(
        self,
        pod: netns.Netns,
        link: kernel.Link,
        addresses: Sequence[kernel.IpInterface],
        sysctls: pathlib.Path = SYSCTLS,
    ) -> None:
        self._name = link.name
        if any(isinstance(each, ipaddress.IPv6Interface) for each in addresses):
            advertise_ipv6(pod, link.name, sysctls)
        mac = bytes.fromhex(link.address.replace(":", ""))
        # InfiniBand addresses are longer, and IPoIB neighbours ask the subnet manager for the path.
        told = [each.ip for each in addresses if isinstance(each, ipaddress.IPv4Interface) and len(mac) == _MAC]
        self._frames = [arp(mac, each) for each in told]
        with netns.entered(pod):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((link.name, _ETH_P_ARP))

    def is_ready(self) -> bool:
        """Whether the link has a carrier. Raises OSError when the interface is gone."""
        request = struct.pack("16sH22x", self._name.encode(), 0)
        answer = fcntl.ioctl(self._socket, _SIOCGIFFLAGS, request)
        return bool(struct.unpack_from("16xH", answer)[0] & _IFF_RUNNING)

    def send(self, mark: int = 0) -> None:
        """`mark` is for the pod's own rules, which may hold back what packet sockets send."""
        if mark:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_MARK, struct.pack("=I", mark))
        for frame in self._frames:
            self._socket.send(frame)

    def close(self) -> None:
        self._socket.close()


def arp(mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    """Build an ARP request for the sender's own address, addressed to everybody."""
    ethernet = _BROADCAST + mac + struct.pack("!H", _ETH_P_ARP)
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)  # Ethernet, IPv4, their lengths, request
    return ethernet + header + mac + address.packed + bytes(6) + address.packed
