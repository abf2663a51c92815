"""Connections to a Service whose backend is the calling thread's own namespace, to see whether they arrive there."""

import contextlib
import errno
import ipaddress
import os
import socket

from sriov.cluster import services

_PATIENCE = 0.4  # seconds for a packet on loopback
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_HELLO = b"sriov-underlay"


def attempt(service: services.Service) -> str:
    """Connect, or send a datagram and answer it. Returns what does not work, "" if all does; IPv6 that the namespace
    does not have is nothing. Blocks for 0.8 s at the most. Raises OSError if nothing can be tried."""
    [backend], frontend = service.backends, service.frontend
    family = socket.AF_INET if ipaddress.ip_address(backend.address).version == 4 else socket.AF_INET6
    is_tcp = frontend.protocol is services.Protocol.TCP
    kind = socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM
    with contextlib.ExitStack() as sockets:
        try:
            server, client = (sockets.enter_context(socket.socket(family, kind)) for _ in range(2))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((backend.address, backend.port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in _NO_IPV6:
                return ""
            raise
        for each in (server, client):
            each.settimeout(_PATIENCE)
        way = _connect if is_tcp else _send
        what = "a TCP connection" if is_tcp else "a datagram, or its answer,"
        try:
            shown = way(server, client, (frontend.address, frontend.port))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "no packet came"
            return f"{what} to {frontend.address} does not arrive: {reason}"
    return "" if shown == frontend.address else f"{what} to {frontend.address} is shown as one to {shown}"


def _connect(server: socket.socket, client: socket.socket, frontend: tuple[str, int]) -> str:
    """Return whom the client is connected to, as it is told."""
    server.listen(1)
    client.connect(frontend)
    server.accept()[0].close()
    return str(client.getpeername()[0])


def _send(server: socket.socket, client: socket.socket, frontend: tuple[str, int]) -> str:
    """Return from whom the answer is, as the client is told."""
    client.sendto(_HELLO, frontend)
    server.sendto(_HELLO, server.recvfrom(len(_HELLO))[1])
    return str(client.recvfrom(len(_HELLO))[1][0])
