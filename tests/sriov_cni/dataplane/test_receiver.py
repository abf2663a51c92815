"""The daemon's side of the agent's socket: who may send, what is refused, and what survives."""

import asyncio
import contextlib
import gc
import logging
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sriov import errors
from sriov.cluster import frames, services
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.daemon import background, unix_sockets
from sriov_cni.dataplane import receiver, table_store
from tests.deviceplugin import loops

A, B = (Frontend(f"10.96.0.{number}", 80, Protocol.TCP) for number in (1, 2))
FIRST = Service(A, (Endpoint("10.1.0.1", 8080),))
OTHER = Service(A, (Endpoint("10.1.0.2", 8080),))
SECOND = Service(B)
WHOLE = TableChange((FIRST,), whole=True, ranges=("10.96.0.0/16",))
OURS = os.getuid()


class Place:
    def __init__(self, folder: pathlib.Path, *, patience: float = 5.0, uid: int = OURS, refuses: bool = False) -> None:
        self.socket, self.snapshot = folder / "agent.sock", folder / "lib/services"
        self.applied: list[TableChange] = []
        self._refuses = refuses
        self.tasks = background.Background()
        self.receiver = receiver.Receiver(table_store.Snapshot(self.snapshot), self._apply, uid, patience)

    def _apply(self, change: TableChange) -> None:
        if self._refuses:
            raise errors.SriovError("the map is full", "have fewer Services")
        self.applied.append(change)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Place"]:
        async with self.receiver.serving(self.socket, self.tasks):
            yield self

    @contextlib.asynccontextmanager
    async def agent(self, *sent: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            for each in sent:
                writer.write(each)
            yield reader, writer
        finally:
            writer.transport.abort()

    @property
    def table(self) -> services.Table:
        return self.receiver.table


async def hung_up(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""


def test_a_table_comes_whole_and_then_changes(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        change = TableChange((OTHER, SECOND))
        async with Place(tmp_path).open() as place, place.agent(frames.encoded(WHOLE), frames.encoded(change)):
            await loops.until(lambda: place.table == {A: OTHER, B: SECOND})
            assert place.applied == [WHOLE, change]
            async with place.agent(frames.encoded(TableChange((SECOND,), whole=True))):
                await loops.until(lambda: place.table == {B: SECOND})
            assert place.applied[2:] == [TableChange(gone=(A,))], "of a table that comes again, the difference"
            assert place.receiver.ranges == ("10.96.0.0/16",)

    loops.run(body())


def test_a_table_that_is_there_already_changes_nothing(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with Place(tmp_path).open() as place:
            async with place.agent(frames.encoded(WHOLE)):
                await loops.until(lambda: A in place.table)
            async with place.agent(frames.encoded(WHOLE), frames.encoded(TableChange((SECOND,)))):
                await loops.until(lambda: B in place.table)
            assert place.applied == [WHOLE, TableChange((SECOND,))]

    loops.run(body())


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (frames.encoded(TableChange((FIRST,))), "the first frame is not the whole table"),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            f"a frame of {int.from_bytes(b'GET ')} bytes, where 1 to {frames.MOST_BYTES} are taken",
        ),
        (frames.HEAD.pack(0), "a frame of 0 bytes"),
        (frames.HEAD.pack(3) + b"\xc1\xc1\xc1", "a frame that is no change of Services"),
        (
            frames.encoded(TableChange((Service(Frontend("10.96.0.1", 0, Protocol.TCP)),), whole=True)),
            "port 0 is not 1 to 65535",
        ),
        (frames.encoded(TableChange(whole=True, ranges=("10.96.0.1/16",))), "range '10.96.0.1/16' is no network"),
        (frames.encoded(TableChange((Service(Frontend("fe80::1%x", 1, Protocol.TCP)),), whole=True)), "fe80::1%x"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_the_table_kept(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, sent: bytes, words: str
) -> None:
    async def body() -> None:
        async with Place(tmp_path).open() as place:
            async with place.agent(frames.encoded(WHOLE)):
                await loops.until(lambda: place.table == {A: FIRST})
            async with place.agent(sent) as (reader, _):
                await hung_up(reader)
            assert (place.table, place.applied) == ({A: FIRST}, [WHOLE])

    loops.run(body())
    [line] = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert words in line
    assert line.endswith("its connection is closed, the table stays as it was")


def test_a_table_that_is_too_large_is_refused(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    count = frames.MOST_SERVICES
    many = tuple(
        Service(Frontend("10.96.0.1", 1 + number % 65535, list(Protocol)[number // 65535])) for number in range(count)
    )

    async def body() -> None:
        async with Place(tmp_path).open() as place:
            async with place.agent(frames.encoded(TableChange(many, whole=True))):
                await loops.until(lambda: len(place.table) == count, 60)
            async with place.agent(frames.encoded(TableChange((*many, SECOND), whole=True))) as (reader, _):
                await hung_up(reader)
            assert len(place.table) == count

    loops.run(body(), 120)
    assert f"{count + 1} frontends with 0 backends are too many" in caplog.text


@pytest.mark.parametrize("part", [1, 3, 10])
def test_a_frame_that_stops_or_ends_in_the_middle_is_refused(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, part: int
) -> None:
    async def body() -> None:
        async with Place(tmp_path, patience=0.2).open() as place:
            async with place.agent(frames.encoded(WHOLE)) as (reader, writer):
                await loops.until(lambda: place.table == {A: FIRST})
                await asyncio.sleep(0.4)  # nothing has to come while nothing happens
                writer.write(frames.encoded(WHOLE)[:part])
                await hung_up(reader)
            async with place.agent(frames.encoded(WHOLE)[:part]) as (reader, writer):
                writer.write_eof()
                await hung_up(reader)
            assert (place.table, place.applied) == ({A: FIRST}, [WHOLE])

    loops.run(body())
    lines = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert ["did not come whole within 0.2 s" in lines[0], "a frame ended after" in lines[1]] == [True, True]


def test_a_change_that_cannot_come_into_force_is_not_in_the_table(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with Place(tmp_path, refuses=True).open() as place:
            async with place.agent(frames.encoded(WHOLE)) as (reader, _):
                await hung_up(reader)
            assert place.table == {}
            assert not place.snapshot.exists()

    loops.run(body())
    assert "the map is full; have fewer Services; its connection is closed" in caplog.text


@given(
    st.lists(
        st.binary(max_size=60) | st.builds(lambda data: frames.HEAD.pack(len(data)) + data, st.binary(max_size=60)),
        max_size=4,
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rubbish_changes_nothing(tmp_path: pathlib.Path, sent: list[bytes]) -> None:
    async def body() -> None:
        async with Place(tmp_path).open() as place:
            async with place.agent(frames.encoded(WHOLE)):
                await loops.until(lambda: place.table == {A: FIRST})
            before = len(place.applied)
            async with place.agent(*sent) as (reader, writer):
                writer.write_eof()
                await hung_up(reader)
            async with place.agent(frames.encoded(WHOLE)):
                await asyncio.sleep(0)
            assert (place.table, len(place.applied)) == ({A: FIRST}, before)

    loops.run(body())


@given(st.binary(max_size=200))
def test_a_frame_is_a_change_or_refused(data: bytes) -> None:
    for body in (
        data,
        msgspec.msgpack.encode({"services": [data]}),
        msgspec.msgpack.encode(TableChange((FIRST,))) + data,
    ):
        with contextlib.suppress(errors.SriovError):
            services.check(frames.decoded(body))


_SENDING = """
import os, socket, sys
connected = socket.socket(socket.AF_UNIX)
os.setgroups([]), os.setresgid(*[int(sys.argv[1])] * 3), os.setresuid(*[int(sys.argv[1])] * 3)
connected.connect(sys.argv[2])
try:
    connected.sendall(bytes.fromhex(sys.argv[3]))
    connected.recv(1)
except (BrokenPipeError, ConnectionResetError):
    pass
"""


@pytest.mark.root
@pytest.mark.parametrize(("uid", "taken"), [(unix_sockets.AGENT_UID, True), (0, True), (65532, False)])
def test_only_the_agents_user_and_root_may_send(caplog: pytest.LogCaptureFixture, uid: int, taken: bool) -> None:
    """A process of that user, which may reach the socket: the kernel says who it is."""

    async def body(folder: pathlib.Path) -> None:
        folder.chmod(0o755)
        async with Place(folder, uid=unix_sockets.AGENT_UID).open() as place:
            command = [sys.executable, "-I", "-c", _SENDING, str(uid), str(place.socket), frames.encoded(WHOLE).hex()]
            process = subprocess.Popen(command)
            try:
                if taken:
                    await loops.until(lambda: place.table == {A: FIRST})
                else:
                    await loops.until(lambda: "may not send Services" in caplog.text)
                    assert place.table == {}
            finally:
                process.kill()
                process.wait()

    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        loops.run(body(pathlib.Path(folder)))
    assert (f"user {uid} may not send Services, only user {unix_sockets.AGENT_UID} may" in caplog.text) == (not taken)


def test_a_newer_connection_ends_an_older_one(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with Place(tmp_path).open() as place, place.agent(frames.encoded(WHOLE)) as (reader, _):
            await loops.until(lambda: place.table == {A: FIRST})
            async with place.agent(frames.encoded(TableChange((SECOND,), whole=True))):
                await hung_up(reader)
                await loops.until(lambda: place.table == {B: SECOND})

    loops.run(body())


def test_who_connects_again_and_again_keeps_no_call_waiting(tmp_path: pathlib.Path) -> None:
    """Calls are handled in the loop's threads, of which there are at most 32."""
    slow = threading.Event()

    async def body() -> None:
        async with contextlib.AsyncExitStack() as stack:
            place = Place(tmp_path)
            place.receiver = receiver.Receiver(table_store.Snapshot(place.snapshot), lambda _: void(slow.wait()), OURS)
            await stack.enter_async_context(place.open())
            stack.callback(slow.set)
            for _ in range(40):
                await stack.enter_async_context(place.agent(frames.encoded(WHOLE)))
                await asyncio.sleep(0.01)  # it may be taken now
            await asyncio.wait_for(asyncio.to_thread(lambda: None), 10)

    loops.run(body())


def void(_: object) -> None:
    """For what answers with nothing."""


def test_the_snapshot_is_the_last_table_and_the_next_starts_with_it(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with Place(tmp_path).open() as place, place.agent(frames.encoded(WHOLE)) as (_, writer):
            await loops.until(place.snapshot.exists)
            assert place.snapshot.stat().st_mode & 0o777 == 0o600
            writer.write(frames.encoded(TableChange((OTHER,))))
            await loops.until(lambda: place.table == {A: OTHER})
        async with Place(tmp_path).open() as again:
            assert again.table == {A: OTHER}
            assert again.applied == [TableChange((OTHER,), whole=True, ranges=("10.96.0.0/16",))]
            async with again.agent(frames.encoded(TableChange((OTHER,), whole=True))):
                await asyncio.sleep(0.2)
            assert len(again.applied) == 1

    loops.run(body())


def test_the_snapshot_is_written_at_most_once_a_second(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with Place(tmp_path).open() as place, place.agent(frames.encoded(WHOLE)) as (_, writer):
            await loops.until(place.snapshot.exists)
            seen, began = set(), time.monotonic()
            for number in range(40):
                writer.write(frames.encoded(TableChange((Service(A, (), number),))))
                await asyncio.sleep(0.02)
                seen.add(place.snapshot.stat().st_ino)
            assert len(seen) <= 2 + int(time.monotonic() - began)
            await loops.until(lambda: b"\x27" in place.snapshot.read_bytes())

    loops.run(body())


def damaged(good: bytes) -> dict[str, bytes]:
    flipped = bytearray(good)
    flipped[-1] ^= 1
    return {"empty": b"", "another's": b"hello", "cut": good[:-1], "a bit": bytes(flipped), "more": good + b"\x00"}


@pytest.mark.parametrize("how", damaged(b"x"))
def test_a_damaged_snapshot_is_said_and_passed_over(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    snapshot = tmp_path / "lib/services"
    table_store.Snapshot(snapshot).write(WHOLE)
    snapshot.write_bytes(damaged(snapshot.read_bytes())[how])

    async def body() -> None:
        async with Place(tmp_path).open() as place:
            assert (place.table, place.applied) == ({}, [])
            async with place.agent(frames.encoded(WHOLE)):
                await loops.until(lambda: place.table == {A: FIRST})

    loops.run(body())
    [line] = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert line.startswith(f"snapshot of Services {snapshot} cannot be used: it is damaged, or another release's; ")


# asyncio itself leaves a socket to the garbage collector that it has accepted just before its server is closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("turns", range(8))
def test_an_agent_that_comes_at_the_end_is_hung_up_on_without_a_word(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, turns: int
) -> None:
    """In whichever turn of the loop, from connect(2) to the first frame, the daemon ends."""

    async def body() -> None:
        with socket.socket(socket.AF_UNIX) as agent:
            async with Place(tmp_path).open() as place:
                agent.connect(str(place.socket))
                agent.sendall(frames.encoded(WHOLE))
                for _ in range(turns):
                    await asyncio.sleep(0)
            await asyncio.sleep(0.05)  # asyncio ends what it has accepted by then

    loops.run(body())
    gc.collect()
    assert [each.getMessage() for each in caplog.records] == []


def test_a_place_where_no_socket_can_be_is_named(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        place = Place(tmp_path)
        place.socket = tmp_path / "none/none/agent.sock"
        with pytest.raises(errors.SriovError, match=r"cannot listen at .*none/none/agent\.sock: No such file"):
            async with place.open():
                pass

    loops.run(body())
