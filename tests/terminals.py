"""A program in a real terminal of some width, and what it writes there."""

import contextlib
import os
import pathlib
import pty
import subprocess
import termios
from collections.abc import Mapping, Sequence


def screen(
    command: Sequence[str],
    width: int,
    environ: Mapping[str, str],
    *,
    cwd: pathlib.Path | None = None,
    typed: str = "",
) -> tuple[int, str]:
    """Run the command to its end; returns its exit status and what it wrote. `typed` is what it can read."""
    mine, its = pty.openpty()
    termios.tcsetwinsize(its, (50, width))
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **environ}
    with subprocess.Popen(command, env=environment, cwd=cwd, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        os.write(mine, typed.encode())
        written = b""
        with contextlib.suppress(OSError):  # EIO: the program has ended
            while data := os.read(mine, 1 << 16):
                written += data
    os.close(mine)
    return process.returncode, written.decode().replace("\r\n", "\n")
