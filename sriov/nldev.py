"""RDMA devices over netlink, which pyroute2 has no module for: the four messages that this project needs.

Part of the door that netlink.py is; nothing else imports it. Types, commands and attributes are those of
include/uapi/rdma/rdma_netlink.h; what the kernel does with them stands in drivers/infiniband/core/nldev.c.
"""

import socket
from typing import Any

from pyroute2 import netlink as base
from pyroute2.netlink import nlsocket

_NETLINK_RDMA = 20  # include/uapi/linux/netlink.h
_NLDEV = 5 << 10  # RDMA_NL_NLDEV, as RDMA_NL_GET_TYPE shifts it
_GET, _SET, _SYS_GET = (_NLDEV + command for command in (1, 2, 6))
_ASK = base.NLM_F_REQUEST | base.NLM_F_ACK


class _Message(base.nlmsg):  # type: ignore[misc]
    prefix = "RDMA_NLDEV_"
    nla_map = (
        (1, "RDMA_NLDEV_ATTR_DEV_INDEX", "uint32"),
        (2, "RDMA_NLDEV_ATTR_DEV_NAME", "asciiz"),
        (66, "RDMA_NLDEV_SYS_ATTR_NETNS_MODE", "uint8"),
        (68, "RDMA_NLDEV_NET_NS_FD", "uint32"),
    )


class _Marshal(nlsocket.Marshal):  # type: ignore[misc]
    msg_map = dict.fromkeys((_GET, _SET, _SYS_GET), _Message)


class Nldev:
    """A socket of the namespace that the calling thread is in. OSError where the kernel has no RDMA.

    Every request raises pyroute2's NetlinkError when the kernel refuses.
    """

    def __init__(self) -> None:
        # pyroute2's constructor leaves an event loop open where there is no such socket.
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_RDMA).close()
        self._socket = nlsocket.NetlinkSocket(family=_NETLINK_RDMA)
        self._socket.set_marshal(_Marshal())
        self._socket.bind()

    def close(self) -> None:
        self._socket.close()

    def shared(self) -> bool:
        """The mode that the whole machine is in (ib_core's netns_mode)."""
        [answer] = self._request(_SYS_GET, base.NLM_F_REQUEST)
        return bool(answer.get_attr("RDMA_NLDEV_SYS_ATTR_NETNS_MODE"))

    def devices(self) -> tuple[tuple[int, str], ...]:
        """Index and name of each."""
        found = self._request(_GET, base.NLM_F_REQUEST | base.NLM_F_DUMP)
        return tuple(
            tuple(map(each.get_attr, ("RDMA_NLDEV_ATTR_DEV_INDEX", "RDMA_NLDEV_ATTR_DEV_NAME"))) for each in found
        )

    def move(self, index: int, fd: int) -> None:
        self._request(_SET, _ASK, ("RDMA_NLDEV_ATTR_DEV_INDEX", index), ("RDMA_NLDEV_NET_NS_FD", fd))

    def rename(self, index: int, name: str) -> None:
        self._request(_SET, _ASK, ("RDMA_NLDEV_ATTR_DEV_INDEX", index), ("RDMA_NLDEV_ATTR_DEV_NAME", name))

    def _request(self, kind: int, flags: int, *attributes: tuple[str, object]) -> list[Any]:
        message = _Message()
        message["attrs"] = [list(each) for each in attributes]
        return list(self._socket.nlm_request(message, kind, flags))
