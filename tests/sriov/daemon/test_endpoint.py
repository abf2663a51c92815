"""The endpoint over real sockets: pages, strangers, and who may come."""

import asyncio
import contextlib
import pathlib
import re
import stat
import sys

import pytest

from sriov import errors
from sriov.daemon import endpoint, http_address, pages, process_metrics
from tests.deviceplugin import loops
from tests.sriov.daemon import clients


def shared(problems: list[str]) -> endpoint.Routes:
    async def now() -> list[str]:
        return problems

    return pages.routes(now, process_metrics.registry("test"))


@pytest.mark.parametrize("unix", [True, False])
def test_it_lives_and_says_whether_it_can_serve(tmp_path: pathlib.Path, unix: bool) -> None:
    where = http_address.Unix(tmp_path / "s") if unix else http_address.Tcp("127.0.0.1", clients.free_port())
    problems: list[str] = []

    async def body() -> None:
        async with endpoint.serving(where, shared(problems)):
            assert await clients.get(where, "/readyz") == (200, "ok\n")
            problems.extend(["it is Monday", "it rains"])
            assert await clients.get(where, "/readyz") == (503, "it is Monday\nit rains\n")
            assert await clients.get(where, "/healthz") == (200, "ok\n")
            assert await clients.get(where, "/") == (404, "there are /healthz, /metrics, /readyz\n")
        with pytest.raises(OSError, match=r"Connect call failed|No such file"):
            await clients.get(where, "/healthz")

    loops.run(body())


def test_metrics_are_of_the_process_and_say_their_type(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "s")

    async def body() -> None:
        async with endpoint.serving(where, shared([])):
            code, head, told = await clients.sent(where, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert code == 200
        assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
        assert f"Content-Length: {len(told)}" in head
        assert re.search(r'^sriov_build_info\{program="test",version="[^"]+"\} 1\.0$', told, re.M)
        assert re.search(r"^process_resident_memory_bytes \S+$", told, re.M)

    loops.run(body())


# What Prometheus 2.42 and 3.5 send (scrape/scrape.go, acceptHeader).
OLD = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
NEW = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2"
)
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        (f"Accept: {OLD}", OPEN),
        (f"Accept: {NEW}", OPEN),
        ("ACCEPT:application/openmetrics-text", OPEN),
        ("Accept: text/html\r\nAccept: application/openmetrics-text; version=1.0.0", OPEN),
        ("Accept: application/openmetrics-text; version=0.0.1", PLAIN),
        ("Accept: application/openmetrics-text; version=latest", PLAIN),
        ("Accept: application/openmetrics-text; version=2." + "0" * 5000, OPEN),
        ("Accept: text/plain; version=1.0.0", PLAIN),
        ("Accept: */*", PLAIN),
        ("Accept:", PLAIN),
        ("Accepts: application/openmetrics-text", PLAIN),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_it(tmp_path: pathlib.Path, headers: str, kind: str) -> None:
    """Both formats have the same samples; only OpenMetrics says where it ends."""
    where = http_address.Unix(tmp_path / "s")

    async def body() -> None:
        async with endpoint.serving(where, shared([])):
            code, head, told = await clients.sent(where, f"GET /metrics HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        assert code == 200
        assert f"Content-Type: {kind}\r\n" in head
        samples = clients.samples(told, openmetrics=kind == OPEN)
        assert clients.value(samples, "sriov_build_info", program="test") == 1
        assert clients.value(samples, "process_cpu_seconds_total") > 0
        assert told.endswith("# EOF\n") == (kind == OPEN)

    loops.run(body())


def test_nonsense_is_the_clients_own_loss(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "s")

    async def body() -> None:
        async with endpoint.serving(where, shared([])):
            for sent in (b"", b"\r\n\r\n", b"x" * 100_000 + b"\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET\r\n\r\n"):
                reader, writer = await clients.connected(where)
                writer.write(sent)
                writer.write_eof()
                await reader.read()
                writer.close()
            assert (await clients.sent(where, b"PUT /healthz HTTP/1.1\r\n\r\n"))[0] == 405
            assert (await clients.get(where, "/healthz"))[0] == 200

    loops.run(body())


def test_who_only_connects_takes_no_more_than_a_few_descriptors(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "s")

    async def body() -> None:
        async with endpoint.serving(where, shared([])):
            idle = [await clients.connected(where) for _ in range(80)]
            await loops.until(lambda: sum(reader.at_eof() for reader, _ in idle) == 16)
            assert [reader.at_eof() for reader, _ in idle] == [True] * 16 + [False] * 64, "the oldest go first"
            for _ in range(10):
                assert (await clients.get(where, "/healthz"))[0] == 200
            for _, writer in idle:
                writer.close()

    loops.run(body())


SLOWLY = {
    "idle": b"",
    "half a request": b"GET /healthz HT",
    "no end of headers": b"GET /healthz HTTP/1.1\r\nX: y\r\n",
    "reads nothing": b"GET /metrics HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("sent", SLOWLY.values(), ids=SLOWLY)
def test_who_takes_his_time_keeps_nobody_from_an_answer(sent: bytes) -> None:
    """A pod in the host's network holds as many connections as it gets, and makes new ones for those that it loses."""
    where = http_address.Tcp("127.0.0.1", clients.free_port())

    async def hold(stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                reader, writer = await clients.connected(where)
                writer.write(sent)
                while not (reader.at_eof() or stop.is_set()):
                    await asyncio.sleep(0.01)
                writer.transport.abort()

    async def body() -> None:
        stop = asyncio.Event()
        async with endpoint.serving(where, shared([])):
            holding = [asyncio.create_task(hold(stop)) for _ in range(100)]
            await asyncio.sleep(0.3)
            for _ in range(20):
                async with asyncio.timeout(1):  # a kubelet's patience
                    assert await clients.get(where, "/healthz") == (200, "ok\n")
            stop.set()
            await asyncio.wait(holding)

    loops.run(body(), timeout=60)


FLOOD = """
import socket, sys
held = []
while True:
    held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
    if len(held) > 500:
        held.pop(0).close()
"""


def test_a_flood_of_connections_denies_no_probe() -> None:
    where = http_address.Tcp("127.0.0.1", clients.free_port())

    async def body() -> None:
        async with endpoint.serving(where, shared([])):
            flood = await asyncio.create_subprocess_exec(sys.executable, "-c", FLOOD, str(where.port))
            try:
                await asyncio.sleep(0.5)
                for _ in range(20):
                    async with asyncio.timeout(2):
                        assert await clients.get(where, "/healthz") == (200, "ok\n")
            finally:
                flood.kill()
                await flood.wait()

    loops.run(body(), timeout=90)


def test_however_many_ask_one_page_is_made_at_a_time(tmp_path: pathlib.Path) -> None:
    where, asked = http_address.Unix(tmp_path / "s"), 0

    async def problems() -> list[str]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.3)
        return []

    async def body() -> None:
        async with endpoint.serving(where, pages.routes(problems, process_metrics.registry("test"))):
            answers = await asyncio.gather(*(clients.get(where, "/readyz") for _ in range(30)))
        assert set(answers) == {(200, "ok\n")}
        assert asked < 5

    loops.run(body())


def test_it_ends_at_once_whoever_is_connected(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    where = http_address.Unix(tmp_path / "s")

    async def never(_accept: str) -> endpoint.Page:
        await asyncio.Event().wait()
        raise AssertionError

    async def body() -> None:
        async with endpoint.serving(where, {"/never": never}):
            held = [await clients.connected(where) for _ in range(3)]
            held[1][1].write(b"GET /never HTTP/1.1\r\n\r\n")
            await asyncio.sleep(0.05)
        for reader, writer in held:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()

    loops.run(body(), timeout=3)
    assert caplog.text == ""


def test_a_socket_is_its_owners_and_goes_with_it_unless_a_successor_has_it(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "s")

    async def body() -> None:
        first, second = endpoint.serving(where, shared([])), endpoint.serving(where, shared([]))
        await first.__aenter__()
        assert stat.S_IMODE(where.path.stat().st_mode) == 0o600
        async with second:
            await first.__aexit__(None, None, None)
            assert (await clients.get(where, "/healthz"))[0] == 200
        assert list(tmp_path.iterdir()) == []

    loops.run(body())


def test_an_address_that_cannot_be_had_is_a_clear_error(tmp_path: pathlib.Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    port = clients.free_port()
    taken = http_address.Tcp("127.0.0.1", port)
    unusable: list[http_address.Address] = [
        taken,
        http_address.Unix(precious),
        http_address.Unix(tmp_path / "absent/s"),
        http_address.Unix("/" / precious / ("x" * 200)),
    ]

    async def body() -> None:
        async with endpoint.serving(taken, {}):
            for where in unusable:
                with pytest.raises(
                    errors.SriovError, match=re.escape(f"cannot serve HTTP at {where}: ") + ".+; move it"
                ):
                    async with endpoint.serving(where, {}, "move it"):
                        raise AssertionError(where)

    loops.run(body())
    assert precious.read_text() == "x"
