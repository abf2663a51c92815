"""The endpoint over real sockets: pages, strangers, and who may come."""

import asyncio
import pathlib
import re
import stat

import pytest

from observability import addresses, endpoint, pages, registries
from sriov import errors
from tests.deviceplugin import loops
from tests.observability import clients


def shared(problems: list[str]) -> endpoint.Routes:
    async def now() -> list[str]:
        return problems

    return pages.routes(now, registries.registry("test"))


@pytest.mark.parametrize("unix", [True, False])
def test_it_lives_and_says_whether_it_can_serve(tmp_path: pathlib.Path, unix: bool) -> None:
    where = addresses.Unix(tmp_path / "s") if unix else addresses.Tcp("127.0.0.1", clients.free_port())
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
    where = addresses.Unix(tmp_path / "s")

    async def body() -> None:
        async with endpoint.serving(where, shared([])):
            code, head, told = await clients.sent(where, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert code == 200
        assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
        assert f"Content-Length: {len(told)}" in head
        assert re.search(r'^sriov_build_info\{program="test",version="[^"]+"\} 1\.0$', told, re.M)
        assert re.search(r"^process_resident_memory_bytes \S+$", told, re.M)

    loops.run(body())


def test_nonsense_is_the_clients_own_loss(tmp_path: pathlib.Path) -> None:
    where = addresses.Unix(tmp_path / "s")

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
    where = addresses.Unix(tmp_path / "s")

    async def body() -> None:
        async with endpoint.serving(where, shared([])):
            idle = [await clients.connected(where) for _ in range(40)]
            await loops.until(lambda: sum(reader.at_eof() for reader, _ in idle) == 8)
            assert (await clients.sent(where, b""))[0] == 0
            for _, writer in idle:
                writer.close()
            await asyncio.sleep(0.05)
            assert (await clients.get(where, "/healthz"))[0] == 200

    loops.run(body())


def test_a_socket_is_its_owners_and_goes_with_it_unless_a_successor_has_it(tmp_path: pathlib.Path) -> None:
    where = addresses.Unix(tmp_path / "s")

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
    taken = addresses.Tcp("127.0.0.1", port)
    unusable: list[addresses.Address] = [
        taken,
        addresses.Unix(precious),
        addresses.Unix(tmp_path / "absent/s"),
        addresses.Unix("/" / precious / ("x" * 200)),
    ]

    async def body() -> None:
        async with endpoint.serving(taken, {}):
            for where in unusable:
                with pytest.raises(
                    errors.SriovError, match=re.escape(f"cannot serve HTTP at {where}: ") + ".+; give --http"
                ):
                    async with endpoint.serving(where, {}):
                        raise AssertionError(where)

    loops.run(body())
    assert precious.read_text() == "x"
