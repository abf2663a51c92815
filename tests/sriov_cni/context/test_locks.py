"""A VF's lock is held for as long as a thread works on the VF, whatever becomes of the task that waits for it."""

import _socket
import ast
import asyncio
import contextlib
import json
import os
import pathlib
import threading
from collections.abc import Iterator

import pytest

from sriov import devices, errors
from sriov_cni.commands import dispatch
from sriov_cni.context import calls, locks
from sriov_cni.shim import shim, wire
from sriov_cni.spec import cni_errors, environment, netconf
from tests.deviceplugin import loops
from tests.fakes import bench
from tests.sriov_cni import harness

PCI = devices.PciAddress("0000:01:10.0")
SECONDS = 10.0
REQUESTS = range(1, 6)
"""The requests of a repair, at each of which a kernel may take its time."""


async def is_free(vf_locks: locks.VfLocks) -> bool:
    try:
        async with vf_locks.of(PCI):
            return True
    except errors.BusyError:
        return False


@pytest.mark.parametrize("cancels", [1, 3])
def test_a_cancelled_task_keeps_the_lock_until_its_thread_is_done(cancels: int) -> None:
    release, done, went_on = threading.Event(), list[str](), list[str]()

    def work() -> None:
        assert release.wait(SECONDS)
        done.append("work")

    async def call(vf_locks: locks.VfLocks) -> None:
        async with vf_locks.of(PCI) as held:
            try:
                await held.run(work)
            finally:
                went_on.extend(done)

    async def body() -> None:
        vf_locks = locks.VfLocks(patience=0.05)
        task = asyncio.create_task(call(vf_locks))
        await asyncio.sleep(0.01)
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not await is_free(vf_locks)
        assert went_on == [], "undoing would begin while the thread works"
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await is_free(vf_locks)

    loops.run(body())
    assert went_on == ["work"]


def test_work_that_nobody_waits_for_keeps_the_lock_too() -> None:
    release = threading.Event()

    async def call(vf_locks: locks.VfLocks) -> None:
        async with vf_locks.of(PCI) as held:
            forgotten = asyncio.create_task(held.run(release.wait, SECONDS))
            await asyncio.sleep(0.01)
        assert await forgotten

    async def body() -> None:
        vf_locks = locks.VfLocks(patience=0.05)
        task = asyncio.create_task(call(vf_locks))
        await asyncio.sleep(0.02)
        assert not await is_free(vf_locks)
        release.set()
        await task
        assert await is_free(vf_locks)

    loops.run(body())


def test_a_failure_is_its_callers_and_frees_the_lock() -> None:
    def fail() -> None:
        raise errors.SriovError("no", "never")

    async def body() -> None:
        vf_locks = locks.VfLocks()
        with pytest.raises(errors.SriovError, match="no"):
            async with vf_locks.of(PCI) as held:
                await held.run(fail)
        assert await is_free(vf_locks)

    loops.run(body())


def test_no_work_under_a_lock_is_done_past_it() -> None:
    """`Held.run` is the only way into a thread there."""
    for path in (harness.PROJECT / "sriov_cni").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncWith) and "vf_locks" in ast.unparse(node.items[0]):
                inside = "\n".join(map(ast.unparse, node.body))
                assert "to_thread" not in inside and "run_in_executor" not in inside, f"{path}:{node.lineno}"


@contextlib.contextmanager
def held_up(here: bench.Bench, request: int) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The `request`-th request from now on waits: when it has come, and what lets it go on."""
    came, release = threading.Event(), threading.Event()

    def wait() -> None:
        came.set()
        release.wait(SECONDS)

    here.machine.before(request, wait)
    try:
        yield came, release
    finally:
        release.set()


@pytest.mark.parametrize("request_", REQUESTS)
def test_an_add_waits_for_a_repair_that_sigterm_has_cancelled(tmp_path: pathlib.Path, request_: int) -> None:
    """A slow kernel holds the repair up; the pod must have its VLAN when all is over."""
    here = bench.make(tmp_path)
    here.attach(here.request())
    here.machine.destroy("pod")
    pod = here.machine.namespace("pod2")
    socket = tmp_path / "cni.sock"
    env = {"COMMAND": "ADD", "CONTAINERID": "c2", "IFNAME": "net1", "NETNS": here.machine.path("pod2")}
    stdin = json.dumps(harness.configuration(here.vfs[0], vlan=200)).encode()
    answers, answered = list[tuple[bytes, bytes]](), threading.Event()

    def answer(connected: _socket.socket) -> None:
        with contextlib.closing(connected):
            answers.append(shim.receive(connected))
            answered.set()
            connected.sendall(wire.frame(wire.DELIVERED, b"\1"))

    def let_go(release: threading.Event) -> None:
        answered.wait(0.5)  # it must not, as long as the repair works
        release.set()

    with held_up(here, request_) as (came, release):
        with harness.daemon(here.node, here.book, socket, here.machine.adopt):
            assert came.wait(SECONDS)
            connected = shim.connect(os.fsencode(socket), 5)
            shim.send_call(connected, {f"CNI_{key}".encode(): value.encode() for key, value in env.items()}, stdin)
            # Calls are taken in order: when this one has been answered, the ADD is under way.
            harness.call_without_a_process(socket, b"{}", COMMAND="VERSION")
            adding = threading.Thread(target=answer, args=(connected,))
            adding.start()
            later = threading.Thread(target=let_go, args=(release,))
            later.start()
        later.join()
        adding.join()
    assert [(kind, payload[:1]) for kind, payload in answers] == [(wire.ANSWER, b"\0")]
    record = here.book.read(here.vfs[0])
    assert record is not None
    assert (record.owner.container_id, here.vf_state().vlan) == ("c2", 200)
    with pod:
        assert here.machine.find(pod.identity, "net1") is not None


def test_an_add_that_is_cancelled_is_undone_under_its_lock(tmp_path: pathlib.Path) -> None:
    """The undoing begins when the thread is done, and the lock is free when the undoing is."""
    here = bench.make(tmp_path)
    before = here.machine.snapshot()

    async def none(_: str, __: str) -> wire.Outcome:
        return wire.Outcome(wire.NO_PLUGIN, b"")

    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_NETNS": "/pod", "CNI_PATH": "/x"}
    stdin = b'{"cniVersion":"1.1.0","name":"n1","type":"sriov","deviceID":"%s","vlan":200}' % here.vfs[0].encode()

    async def body(came: threading.Event, release: threading.Event) -> None:
        daemon = calls.Daemon(here.node, here.book, vf_locks=locks.VfLocks(patience=0.05))
        call = calls.Call(
            environment.invocation(env, environment.arguments(env.get("CNI_ARGS", ""))),
            netconf.decode(stdin),
            here.pod,
            none,
        )
        task = asyncio.create_task(dispatch.run(daemon, call))
        await asyncio.to_thread(came.wait, SECONDS)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(cni_errors.CniError, match="another call"):
            await dispatch.run(daemon, call)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    with held_up(here, 4) as (came, release):
        loops.run(body(came, release))
    assert here.book.read(here.vfs[0]) is None
    assert here.machine.snapshot() == before
