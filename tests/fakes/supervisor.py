"""Supervisor that acts as systemd to a daemon: owns the listening socket, passes it on, receives notifications."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

_EXEC = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[2], LISTEN_FDNAMES="sriov-cni.socket")
os.execvp(sys.argv[3], sys.argv[3:])
"""
_SECONDS = 30
PROJECT = pathlib.Path(__file__).parents[2]


class Supervisor:
    """`path` is where the socket is; the notify socket is beside it."""

    def __init__(self, path: pathlib.Path) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        path.chmod(0o600)
        self.listening.listen(512)
        self._notified = path.with_name("notify")
        self._hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._hears.bind(str(self._notified))
        self._hears.settimeout(_SECONDS)

    @contextlib.contextmanager
    def running(
        self, command: Sequence[str], passed: socket.socket | None = None, count: int = 1
    ) -> Iterator[subprocess.Popen[str]]:
        """Run the daemon as a process; by default with the listening socket. It is killed if it has not ended."""
        fd = (passed or self.listening).fileno()
        env = {**os.environ, "NOTIFY_SOCKET": str(self._notified)}
        argv = [sys.executable, "-c", _EXEC, str(fd), str(count), *command]
        with subprocess.Popen(argv, cwd=PROJECT, env=env, pass_fds=(fd,), stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def heard(self) -> str:
        """Return the daemon's next notification."""
        return self._hears.recv(4096).decode()

    def close(self) -> None:
        self.listening.close()
        self._hears.close()
