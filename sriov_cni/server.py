"""Server on the daemon's socket: receives a shim's call, has it carried out, answers. Every failure is answered too."""

import asyncio
import contextlib
import logging
import os
import pathlib
import socket
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from sriov import errors, timing
from sriov.daemon import logs, unix_sockets
from sriov.linux import netns
from sriov.state import call_log
from sriov_cni import call_summary, connection
from sriov_cni.commands import dispatch, repair
from sriov_cni.context import calls, steps
from sriov_cni.shim import wire
from sriov_cni.spec import cni_errors, environment, netconf
from sriov_cni.spec.cni_errors import Code

_log = logging.getLogger(__name__)
_CALL_SECONDS = 30  # for a shim to send its call
_LAST_SECONDS = 10  # for shims to confirm that the answer is printed, when the daemon ends
_PAUSE_SECONDS = 1  # while there are no free descriptors: calls wait in the socket's queue meanwhile


class _Received(msgspec.Struct, frozen=True):
    """A call as its shim sent it, each part parsed once: `args` are the CNI_ARGS of `env`, `document` is stdin."""

    env: wire.Environment
    args: environment.Arguments
    document: netconf.Document


class Server:
    """Serves one socket. `adopt` turns a received descriptor into a namespace, or raises NetnsError.

    `tell` sends messages to the supervisor (sd_notify(3)). `is_ours` reports whether the ledger is still ours: if not,
    no call is begun.
    """

    def __init__(
        self,
        daemon: calls.Daemon,
        adopt: Callable[[int], netns.Netns] = netns.adopt,
        tell: Callable[[str], None] = lambda _: None,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._daemon = daemon
        self._adopt = adopt
        self._tell = tell
        self._is_ours = is_ours
        self._calls: set[asyncio.Task[None]] = set()
        self._repairing: asyncio.Task[None] | None = None
        self._uids = {0, os.geteuid()}
        self._unheard: set[connection.Connection] = set()
        self._left: set[connection.Connection] = set()

    async def serve(self, path: pathlib.Path, stop: asyncio.Event) -> None:
        """Listen at `path`, accept calls until `stop`, then finish those in progress. Only root may use the socket."""
        with contextlib.closing(bind(path)) as listening:
            ours = path.stat().st_ino
            _log.info("listening on %s", path)
            await self._accept_until(stop, listening)
            # A successor may have bound the same path meanwhile.
            if path.exists() and path.stat().st_ino == ours:
                path.unlink()
        await self._finish()

    async def serve_inherited(self, listening: socket.socket, stop: asyncio.Event) -> None:
        """Serve a socket that the supervisor made, keeps and removes: calls wait there for our successor."""
        with contextlib.closing(listening):
            _log.info("listening on %s, which systemd keeps", listening.getsockname())
            await self._accept_until(stop, listening)
        await self._finish()

    async def _accept_until(self, stop: asyncio.Event, listening: socket.socket) -> None:
        """Accept each call as soon as the loop sees it."""
        loop = asyncio.get_running_loop()
        loop.add_reader(listening, self._take, listening)
        self._repairing = asyncio.create_task(repair.keep_repairing(self._daemon))
        self._tell("READY=1")
        await stop.wait()
        self._tell("STOPPING=1")
        self._repairing.cancel()
        loop.remove_reader(listening)

    async def _finish(self) -> None:
        if self._repairing is not None:  # it ends when its thread has finished its present work
            await asyncio.wait([self._repairing])
        if self._calls:
            _log.info("finishing %d calls", len(self._calls))
        while self._calls:
            _, at_work = await asyncio.wait(self._calls, timeout=_LAST_SECONDS)
            if at_work:
                self._leave_the_silent()
        if self._daemon.chores:
            await asyncio.wait(self._daemon.chores)

    def _leave_the_silent(self) -> None:
        """Hang up on silent shims: a stopped shim cannot confirm its answer, and must not hold up our successor.

        Nothing is taken back, since the answer may be printed: the shim finds the connection closed, and fails, and the
        runtime ends the attachment.
        """
        for shim in self._unheard - self._left:
            _log.warning("a shim has not confirmed its answer for %g s: hanging up", _LAST_SECONDS)
            self._left.add(shim)
            shim.hang_up()

    def _take(self, listening: socket.socket) -> None:
        try:
            sock, _ = listening.accept()
        except BlockingIOError:  # the client has gone
            return
        except OSError as error:
            _log.warning("cannot accept calls for %g s: %s", _PAUSE_SECONDS, error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(_PAUSE_SECONDS, self._go_on, listening)
            return
        sock.setblocking(False)
        task = asyncio.create_task(self._handle(connection.Connection(sock)))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _go_on(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listening, self._take, listening)

    async def _handle(self, shim: connection.Connection) -> None:
        try:
            if shim.uid not in self._uids:
                _log.warning("refused a call of uid %d", shim.uid)
                return
            async with asyncio.timeout(_CALL_SECONDS):
                env = wire.environment(await shim.read(wire.ENVIRONMENT))
                stdin = await shim.read(wire.STDIN)
            if not self._is_ours():
                _log.warning("refused a call: another daemon may be using the run directory")
                return
            await self._answer(shim, env, stdin)
        except (wire.WireError, OSError, TimeoutError) as error:
            _log.warning("lost a shim: %s", error)
        finally:
            shim.close()

    async def _answer(self, shim: connection.Connection, env: wire.Environment, stdin: bytes) -> None:
        """Carry the call out and answer; take back what no runtime is there to learn of."""
        started = time.monotonic()
        received = _Received(env, environment.arguments(env.get("CNI_ARGS", "")), netconf.decode(stdin))
        facts = call_summary.log_fields(env, received.args)
        logs.begin(**facts)
        meter = self._daemon.meter
        asked = timing.ask() if meter is not None or _log.isEnabledFor(logging.DEBUG) else None
        with contextlib.ExitStack() as held:
            call, answer, code, outcome = await self._outcome(shim, received, held)
            name = " ".join(env.get(key, "") for key in ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME"))
            _log.info("%r in %.1f ms: %r", name, (time.monotonic() - started) * 1000, outcome)
            with timing.timed(steps.CallStep.ANSWER):
                delivered = await self._delivered(shim, answer)
            if delivered and call is not None:
                await self._confirm(shim, call)
            # When this is over and the shim has gone. That a pod without a claim had none is no news.
            if self._daemon.calls_log is not None and (call is None or call.attachments):
                took = time.monotonic() - started
                asyncio.get_running_loop().call_soon(
                    _keep, self._daemon.calls_log, facts, received.document, answer, took
                )
            if asked is not None:
                _log.debug("%r took %s", name, asked)
            if asked is not None and meter is not None:
                meter.call(env.get("CNI_COMMAND", ""), code, time.monotonic() - started, asked)
            if delivered is False and call is not None:
                _log.warning("%r: the runtime did not wait for the answer", name)
                await dispatch.give_up(self._daemon, call)
            for each in () if call is None else call.attachments:
                if self._daemon.fresh.holds(each.key, each):
                    self._daemon.fresh.end(each.key)

    async def _delivered(self, shim: connection.Connection, answer: bytes) -> bool | None:
        """Report whether the runtime has read the answer; None if that is not known, since the daemon ends."""
        self._unheard.add(shim)
        try:
            heard = await _delivered(shim, answer)
        finally:
            self._unheard.discard(shim)
        return None if shim in self._left and not heard else heard

    async def _confirm(self, shim: connection.Connection, call: calls.Call) -> None:
        """Tell the shim if the attachment whose answer it printed was ended before that."""
        fresh = self._daemon.fresh
        if call.invocation.command is not environment.Command.ADD or all(
            fresh.holds(each.key, each) for each in call.attachments
        ):
            return
        _log.warning("the attachment was ended before the runtime had its result: telling the shim")
        with contextlib.suppress(OSError):
            await shim.write(wire.frame(wire.WITHDRAWN, b""))

    async def _outcome(
        self, shim: connection.Connection, received: _Received, held: contextlib.ExitStack
    ) -> tuple[calls.Call | None, bytes, int, str]:
        """Return the call if it succeeded, the answer's frame, its code, and the text for the log."""
        try:
            call = self._call(shim, received, held)
            stdout = await dispatch.run(self._daemon, call)
            return call, wire.answer(0, stdout), 0, "done"
        except cni_errors.CniError as error:
            told = cni_errors.encode(error, netconf.version(received.document))
            return None, wire.answer(1, told), error.code, f"error {error.code}: {error.message}; {error.details}"
        except Exception as error:  # the edge of the process: the runtime gets an answer whatever happens
            _log.exception("an unexpected failure")
            unexpected = cni_errors.CniError(Code.INTERNAL, f"unexpected {type(error).__name__}: {error}")
            return (
                None,
                wire.answer(1, cni_errors.encode(unexpected, netconf.version(received.document))),
                Code.INTERNAL,
                "failed unexpectedly",
            )

    def _call(self, shim: connection.Connection, received: _Received, held: contextlib.ExitStack) -> calls.Call:
        invocation = environment.invocation(received.env, received.args)
        pod = None
        if (descriptor := shim.take_descriptor()) is not None:
            with contextlib.suppress(errors.NetnsError):
                pod = held.enter_context(self._adopt(descriptor))
        run = _ipam_runner(shim)
        return calls.Call(invocation, received.document, pod, run, run)


async def _delivered(shim: connection.Connection, answer: bytes) -> bool:
    """Report whether the runtime has read it. Without a limit: the shim's D frame or its end is sure to come."""
    try:
        await shim.write(answer)
        return await shim.read(wire.DELIVERED) == b"\1"
    except (OSError, wire.WireError):
        return False


class _RunIpam(Protocol):
    async def __call__(self, command: str, plugin: str, own: wire.OwnCall | None = None, /) -> wire.Outcome: ...


def _ipam_runner(shim: connection.Connection) -> _RunIpam:
    async def run(command: str, plugin: str, own: wire.OwnCall | None = None, /) -> wire.Outcome:
        try:
            with timing.timed(steps.CallStep.IPAM):
                await shim.write(wire.ipam_request(command, plugin, own))
                return wire.outcome(await shim.read(wire.IPAM))
        except (OSError, wire.WireError) as error:
            message = f"IPAM {command} of {plugin!r} has no outcome: {error}"
            raise cni_errors.CniError(Code.TRY_AGAIN, message, "the runtime ended the call; it tries again") from error

    return run


def bind(path: pathlib.Path) -> socket.socket:
    """Open a listening socket at `path`; replaces a former daemon's. Raises LedgerError."""
    try:
        return unix_sockets.listen(path)
    except OSError as error:
        raise errors.LedgerError(
            f"cannot listen on {path}: {error.strerror or error}", "give another --socket"
        ) from error


def _keep(
    calls_log: call_log.Recent, facts: Mapping[str, str], document: netconf.Document, answer: bytes, seconds: float
) -> None:
    outcome = call_summary.outcome(facts, document, answer, seconds, time.time())
    if outcome is not None:
        calls_log.note(outcome)
