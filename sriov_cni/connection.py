"""Connection of one shim: frames in and out, the namespace's descriptor, and the peer's user.

Every descriptor that arrives is owned here and closed with the connection, however many there are.
"""

import asyncio
import contextlib
import os
import socket
import struct

from sriov.daemon import unix_sockets
from sriov_cni.shim import wire

_RIGHTS = socket.CMSG_SPACE(4 * struct.calcsize("i"))


class Connection:
    """A connected, non-blocking unix socket.

    Raises WireError for a broken protocol, OSError for a broken connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._descriptors: list[int] = []

    @property
    def uid(self) -> int:
        """The user that connected, as the kernel knows it (SO_PEERCRED)."""
        return unix_sockets.peer_uid(self._sock)

    async def read(self, expected: bytes) -> bytes:
        """Return the payload of the next frame, which must be of this kind."""
        kind, length = wire.head(await self._exactly(wire.HEAD))
        if kind != expected:
            raise wire.WireError(f"a frame of kind {kind!r} instead of {expected!r}")
        return await self._exactly(length)

    async def write(self, frame: bytes) -> None:
        await self._loop.sock_sendall(self._sock, frame)

    def take_descriptor(self) -> int | None:
        """Return the descriptor that came along, which now belongs to the caller."""
        return self._descriptors.pop(0) if self._descriptors else None

    def hang_up(self) -> None:
        """Shut the connection down, so that both sides' reads and writes end."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._sock.close()

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = await self._some(size - len(data))
            if not part:
                raise ConnectionResetError("the shim closed the connection")
            data += part
        return data

    async def _some(self, limit: int) -> bytes:
        while True:
            try:
                data, ancillary, _, _ = self._sock.recvmsg(limit, _RIGHTS, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await self._readable()
                continue
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._descriptors += struct.unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
            return data

    async def _readable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._sock, _resolve, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(self._sock)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
