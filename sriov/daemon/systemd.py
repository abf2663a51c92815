"""systemd's protocol for daemons: a listening socket from it, and notifications to it.

The protocol is an environment variable and a datagram (sd_listen_fds(3), sd_notify(3)), so it needs no library.
Without a supervisor nothing here has any effect.
"""

import os
import socket
from collections.abc import MutableMapping

from sriov import errors

_FIRST = 3  # SD_LISTEN_FDS_START


def inherited_socket(environ: MutableMapping[str, str]) -> socket.socket | None:
    """Return the listening socket that systemd passed; None if there is none. Removes its variables from `environ`.

    Raises SriovError for anything but one listening stream socket of AF_UNIX.
    """
    pid, count, _ = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()):
        return None
    remedy = "give the socket unit one ListenStream= with a path"
    if count != "1":
        raise errors.SriovError(f"systemd passed {count or 'no'} sockets instead of one", remedy)
    os.set_inheritable(_FIRST, False)
    passed = socket.socket(fileno=_FIRST)
    listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if (passed.family, passed.type, listens) != (socket.AF_UNIX, socket.SOCK_STREAM, 1):
        passed.close()
        raise errors.SriovError("the socket that systemd passed is not a listening unix socket", remedy)
    passed.setblocking(False)
    return passed


def tell(environ: MutableMapping[str, str], state: str) -> None:
    """Send `READY=1` or another state to the supervisor. It is no error if nobody receives it."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        except OSError:
            return
