"""Floor of the cost: the bare netlink requests of an attachment, from one process that has everything ready.

No library, no JSON, no look before or after: sockets are open, a request is a few packed bytes, its acknowledgement is
waited for. Nothing that moves a link can be faster on this kernel.
"""

import socket
import struct
from collections.abc import Sequence

from hack.benchmark.stages import stage
from sriov.linux import netns

# include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, if.h
_RTM_NEWLINK = 16
_REQUEST_AND_ACKNOWLEDGE = 0x5
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_VFINFO_LIST, _IFLA_NET_NS_FD = 1, 3, 22, 28
_IFLA_VF_INFO, _IFLA_VF_MAC, _IFLA_VF_VLAN = 1, 1, 2
_NESTED = 0x8000
_NO_MAC = "00:00:00:00:00:00"
_IFF_UP = 1
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")


class Floor:
    """A socket in the host and one in every pod. They hold the pods' namespaces, so close it."""

    def __init__(self, where: stage.Stage) -> None:
        self._host = where.host.fd
        self._home = _socket()
        self._inside: dict[int, socket.socket] = {}
        for link in where.links:
            with netns.entered(link.pod):
                self._inside[link.index] = _socket()

    def close(self) -> None:
        for each in (self._home, *self._inside.values()):
            each.close()

    def add(self, link: stage.Link) -> None:
        """Send two requests: move and rename; up."""
        self.move(link)
        _ask(self._inside[link.index], link.index, up=True)

    def move(self, link: stage.Link) -> None:
        _ask(self._home, link.index, name="net1", target=link.pod.fd)

    def delete(self, link: stage.Link) -> None:
        """Send one request: to the host under its name. The move takes it down and removes its addresses."""
        _ask(self._inside[link.index], link.index, name=link.name, target=self._host)

    def add_with_vlan(self, link: stage.Link, pf: int, vlan: int) -> None:
        """Send one more request before those of `add`: to the PF, which pins the VF's MAC and sets its VLAN."""
        _send(self._home, pf, _vf_settings(link.vf, link.address, vlan))
        self.add(link)

    def delete_with_vlan(self, link: stage.Link, pf: int) -> None:
        """Send what a DEL cannot do without: the move, one request to the PF, and the VF's own address."""
        self.delete(link)
        _send(self._home, pf, _vf_settings(link.vf, _NO_MAC, 0))
        _send(self._home, link.index, _attribute(_IFLA_ADDRESS, bytes.fromhex(link.address.replace(":", ""))))

    def move_all(self, links: Sequence[stage.Link]) -> None:
        for link in links:
            self.move(link)

    def delete_all(self, links: Sequence[stage.Link]) -> None:
        for link in links:
            self.delete(link)


def _socket() -> socket.socket:
    """Open a socket in the calling thread's namespace."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    made.bind((0, 0))
    return made


def _ask(sock: socket.socket, index: int, name: str | None = None, target: int | None = None, up: bool = False) -> None:
    attributes = b""
    if target is not None:
        attributes += _attribute(_IFLA_NET_NS_FD, struct.pack("=I", target))
    if name is not None:
        attributes += _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    _send(sock, index, attributes, up=up)


def _send(sock: socket.socket, index: int, attributes: bytes, *, up: bool = False) -> None:
    """Send one request about a link; wait for the acknowledgement. Raises OSError if the kernel refuses."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, _IFF_UP * up, _IFF_UP * up) + attributes
    sock.send(_HEADER.pack(_HEADER.size + len(body), _RTM_NEWLINK, _REQUEST_AND_ACKNOWLEDGE, 1, 0) + body)
    code = _ERROR.unpack_from(sock.recv(65536), _HEADER.size)[0]
    if code:
        raise OSError(-code, f"the kernel refused a bare request on link {index}")


def _vf_settings(vf: int, address: str, vlan: int) -> bytes:
    """Build what a PF is told of a VF: its administered MAC and its VLAN (struct ifla_vf_mac, struct ifla_vf_vlan)."""
    mac = struct.pack("=I32s", vf, bytes.fromhex(address.replace(":", "")))
    told = _attribute(_IFLA_VF_MAC, mac) + _attribute(_IFLA_VF_VLAN, struct.pack("=III", vf, vlan, 0))
    return _attribute(_IFLA_VFINFO_LIST | _NESTED, _attribute(_IFLA_VF_INFO | _NESTED, told))


def _attribute(kind: int, data: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(size, kind) + data + b"\0" * (-size % 4)
