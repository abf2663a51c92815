"""RDMA devices over netlink: the four messages this project needs, none of which pyroute2 has.

Part of netlink; no other module imports it. Types, commands and attributes are those of
include/uapi/rdma/rdma_netlink.h; the kernel implements them in drivers/infiniband/core/nldev.c.
"""

from typing import Any

from sriov.linux import nlsocket
from sriov.linux.messages import pyroute2_parts

_NLDEV = 5 << 10  # RDMA_NL_NLDEV, as RDMA_NL_GET_TYPE shifts it
_GET, _SET, _SYS_GET = (_NLDEV + command for command in (1, 2, 6))


class _Message(pyroute2_parts.part("netlink").nlmsg):  # type: ignore[misc]
    prefix = "RDMA_NLDEV_"
    nla_map = (
        (1, "RDMA_NLDEV_ATTR_DEV_INDEX", "uint32"),
        (2, "RDMA_NLDEV_ATTR_DEV_NAME", "asciiz"),
        (66, "RDMA_NLDEV_SYS_ATTR_NETNS_MODE", "uint8"),
        (68, "RDMA_NLDEV_NET_NS_FD", "uint32"),
    )


class Nldev:
    """RDMA socket of the calling thread's namespace. OSError if the kernel has no RDMA, or refuses."""

    def __init__(self) -> None:
        self._socket = nlsocket.Socket(nlsocket.RDMA)

    def close(self) -> None:
        self._socket.close()

    def shared(self) -> bool:
        """Report whether all namespaces of the machine share their devices (ib_core's netns_mode)."""
        [answer] = self._ask(_SYS_GET, 0)
        return bool(answer.get_attr("RDMA_NLDEV_SYS_ATTR_NETNS_MODE"))

    def devices(self) -> tuple[tuple[int, str], ...]:
        """Return index and name of each device."""
        found = self._ask(_GET, nlsocket.DUMP)
        return tuple(
            tuple(map(each.get_attr, ("RDMA_NLDEV_ATTR_DEV_INDEX", "RDMA_NLDEV_ATTR_DEV_NAME"))) for each in found
        )

    def move(self, index: int, fd: int) -> None:
        self._ask(_SET, nlsocket.ACK, ("RDMA_NLDEV_ATTR_DEV_INDEX", index), ("RDMA_NLDEV_NET_NS_FD", fd))

    def rename(self, index: int, name: str) -> None:
        self._ask(_SET, nlsocket.ACK, ("RDMA_NLDEV_ATTR_DEV_INDEX", index), ("RDMA_NLDEV_ATTR_DEV_NAME", name))

    def _ask(self, kind: int, flags: int, *attributes: tuple[str, object]) -> list[Any]:
        return nlsocket.read(_Message, self._socket.ask(kind, flags, nlsocket.body(_Message, None, attributes)))
