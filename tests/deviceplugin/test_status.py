"""The health endpoint: what it says, over real sockets."""

import asyncio
import json
import pathlib
import socket

import pytest

from deviceplugin import status
from sriov import errors
from tests.deviceplugin import loops

GOOD = status.Status("config.json", "", (status.ResourceStatus("intel.com/a", 4, 4, True, 1),))
BAD = status.Status("config.json", "it is not JSON", (status.ResourceStatus("intel.com/a", 4, 4, False, 0),))


async def get(where: str, path: str) -> tuple[int, str]:
    if where.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(where.removeprefix("unix:"))
    else:
        host, _, port = where.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.parametrize("unix", [True, False])
def test_it_answers_while_things_go_well_and_when_they_do_not(tmp_path: pathlib.Path, unix: bool) -> None:
    where = f"unix:{tmp_path}/health.sock" if unix else f"127.0.0.1:{free_port()}"
    now = [GOOD]

    async def body() -> None:
        async with loops.running(status.serve(where, lambda: now[0])):
            await loops.until(lambda: not unix or (tmp_path / "health.sock").exists())
            await asyncio.sleep(0.05)
            assert await get(where, "/healthz") == (200, "ok\n")
            now[0] = BAD
            code, told = await get(where, "/healthz")
            assert (code, told.splitlines()) == (
                503,
                [
                    "the configuration in force is an older one: it is not JSON",
                    "intel.com/a is not registered with the kubelet",
                ],
            )
            assert (await get(where, "/livez"))[0] == 200
            code, told = await get(where, "/status")
            assert json.loads(told)["resources"] == [
                {"name": "intel.com/a", "devices": 4, "healthy": 4, "registered": False, "watched": 0}
            ]
            assert (await get(where, "/metrics"))[0] == 404

    loops.run(body())


def test_nonsense_from_a_client_is_its_own_loss(tmp_path: pathlib.Path) -> None:
    where = f"unix:{tmp_path}/health.sock"

    async def body() -> None:
        async with loops.running(status.serve(where, lambda: GOOD)):
            await loops.until((tmp_path / "health.sock").exists)
            for sent in (b"", b"\r\n\r\n", b"x" * 100_000 + b"\r\n\r\n", b"\xff\xfe\r\n\r\n"):
                reader, writer = await asyncio.open_unix_connection(tmp_path / "health.sock")
                writer.write(sent)
                writer.write_eof()
                await reader.read()
                writer.close()
            assert (await get(where, "/healthz"))[0] == 200

    loops.run(body())


@pytest.mark.parametrize("where", ["127.0.0.1", "127.0.0.1:http", "unix:/proc/nowhere/x"])
def test_an_address_that_is_none_is_refused(where: str) -> None:
    async def body() -> None:
        with pytest.raises(errors.SriovError, match=r"cannot serve health at .*write 127\.0\.0\.1:PORT"):
            await status.serve(where, lambda: GOOD)

    loops.run(body())
