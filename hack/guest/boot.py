"""Boot of a guest for one job: carries its output and its exit status out, live and unmixed, and typed input in.

Two virtio serial ports do that: `control` for the guest's own messages (ready, exit, fail), `output` for what the
command writes. Kernel messages go to the console, which is read only if something went wrong. Leaves nothing behind,
no process and no file, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hack.guest import errors, jobs, keyboard, machine, progress
from hack.guest.downloads import parts

# Seconds; 10 to 15 are usual under emulation on an idle machine. Sometimes an emulated clock stands still on a busy
# one, and with it the kernel ("rcu_preempt kthread starved"), and QEMU itself can end ("iotlb_to_section: Assertion
# failed"): nothing was done in such a guest, so another is booted.
BOOT_LIMITS = (90.0, 180.0)
LAST_LINES = 15


@dataclass(frozen=True)
class Limits:
    """Size of a guest, and the seconds that its command may take.

    `standstill`: seconds without a sign of life, of which a guest gives one every 10 (see `init`). One in a few hundred
    emulated guests has stood still as a whole.
    """

    memory: str = "2G"
    cpus: int = 2
    timeout: float = 3600.0
    standstill: float = 180.0


@dataclass(frozen=True)
class Outcome:
    """The command's exit status and the seconds until it was started."""

    status: int
    booted_after: float


def run(
    have: parts.Parts,
    job: jobs.Job,
    limits: Limits,
    sink: Callable[[bytes], object],
    shown: progress.Progress,
    *,
    console: Path | None = None,
) -> Outcome:
    """Boots, runs, returns. `sink` gets the command's output as it comes; `console` keeps the kernel's messages."""
    return insistently(lambda limit: _once(have, job, limits, sink, shown, console=console, boot_limit=limit), shown)


def insistently(boot: Callable[[float], Outcome], shown: progress.Progress) -> Outcome:
    """Retry `boot`, which is given its seconds. Raises its last error; any but NotBootedError at once."""
    *first, last = BOOT_LIMITS
    for limit in first:
        try:
            return boot(limit)
        except errors.NotBootedError as error:
            shown.say(f"{str(error).splitlines()[0]}; once more")
    return boot(last)


def _once(
    have: parts.Parts,
    job: jobs.Job,
    limits: Limits,
    sink: Callable[[bytes], object],
    shown: progress.Progress,
    *,
    console: Path | None,
    boot_limit: float,
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="sriov-lab-") as folder:
        log = console or Path(folder) / "console"
        log.write_bytes(b"")
        initrd = Path(folder) / "initrd"
        initrd.write_bytes(jobs.initrd(job, have))
        fast = machine.accelerated(Path("/proc/cpuinfo").read_text())
        built = machine.Machine(
            limits.memory, limits.cpus, fast, initrd, log.absolute(), job.out, job.terminal, job.network
        )
        keys = keyboard.Keyboard() if job.terminal else contextlib.nullcontext()
        with _qemu(have, built) as (control, output), keys as typed:
            watch = _Watch(control, output, sink, shown, log=log, boot_limit=boot_limit, limits=limits, typed=typed)
            return watch.outcome()


@contextlib.contextmanager
def _qemu(have: parts.Parts, built: machine.Machine) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Run QEMU; yields our ends of its two ports. setpriv ends it even if we are killed."""
    control, its_control = socket.socketpair()
    output, its_output = socket.socketpair()
    monitor, orders = socket.socketpair()
    with control, output, its_control, its_output, monitor, orders:
        theirs = (its_control, its_output, monitor, orders)
        numbers = [each.fileno() for each in theirs]
        with built.console.open("ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *machine.arguments(have, built, machine.Ports(*numbers))],
                env={"PATH": os.defpath, "QEMU_MODULE_DIR": str(have.qemu_modules)}, pass_fds=numbers,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        for each in theirs:
            each.close()
        try:
            yield control, output
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class _Watch:
    """Follows one guest from its first sign of life to its end."""

    def __init__(
        self,
        control: socket.socket,
        output: socket.socket,
        sink: Callable[[bytes], object],
        shown: progress.Progress,
        *,
        log: Path,
        boot_limit: float,
        limits: Limits,
        typed: keyboard.Keyboard | None,
    ) -> None:
        self._sink, self._shown, self._log, self._limits = sink, shown, log, limits
        self._output, self._typed = output, typed
        self._begun = time.monotonic()
        self._boot_limit = boot_limit
        self._deadline = self._begun + boot_limit
        self._ready: float | None = None
        self._heard = self._begun
        self._words = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, (control.recv, self._hear))
        self._selector.register(output, selectors.EVENT_READ, (output.recv, self._sink))
        self._ports = {control, output}

    def outcome(self) -> Outcome:
        """Follow it until both ports are closed: what is in them when QEMU ends is still read."""
        with self._selector:
            while self._ports & {key.fileobj for key in self._selector.get_map().values()}:
                if self._ready is None:
                    self._shown.show("booting the guest")
                for key, _ in self._selector.select(1.0):
                    self._read(key)
                self._check_time()
        return self._concluded()

    def _read(self, key: selectors.SelectorKey) -> None:
        read, take = key.data
        try:
            data = read(1 << 16)
        except ConnectionResetError:
            data = b""
        if data:
            self._heard = time.monotonic()
            take(data)
        else:
            self._selector.unregister(key.fileobj)

    def _hear(self, data: bytes) -> None:
        self._words += data
        if self._ready is None and b"ready " in self._words:
            self._ready = time.monotonic() - self._begun
            self._deadline = time.monotonic() + self._limits.timeout
            self._shown.clear()
            if self._typed is not None:
                self._selector.register(self._typed.begin(), selectors.EVENT_READ, (self._typed.read, self._type))

    def _type(self, keys: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the guest has just ended
            self._output.sendall(keys)

    def _check_time(self) -> None:
        if self._ready is not None and time.monotonic() - self._heard > self._limits.standstill:
            raise errors.StoodStillError(
                f"the guest stood still: no sign of life for {self._limits.standstill:.0f} s{self._last_lines()}"
            )
        if time.monotonic() < self._deadline:
            return
        if self._ready is None:
            raise errors.NotBootedError(f"the guest did not boot within {self._boot_limit:.0f} s{self._last_lines()}")
        raise errors.LabError(
            f"the command was still running after {self._limits.timeout:.0f} s and was ended with its guest"
        )

    def _concluded(self) -> Outcome:
        said = dict(line.split(" ", 1) for line in self._words.decode(errors="replace").splitlines() if " " in line)
        if "fail" in said:
            raise errors.LabError(f"the guest could not be set up: {said['fail']}{self._last_lines()}")
        if self._ready is None:
            raise errors.NotBootedError(f"the guest stopped before the command had started{self._last_lines()}")
        if "exit" not in said:
            raise errors.LabError(f"the guest stopped before the command had ended{self._last_lines()}")
        return Outcome(int(said["exit"]), self._ready)

    def _last_lines(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "".join(f"\n    {line}" for line in ["; its last words:", *lines]).replace("\n    ;", ";", 1)
