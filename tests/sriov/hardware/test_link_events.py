"""Link changes are heard, without a capability and without reading what they say."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

from sriov.hardware import link_events


@pytest.fixture
def veth() -> Iterator[str]:
    name = f"lk{os.getpid()}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", f"{name}p"], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


@pytest.mark.root
def test_a_link_that_goes_up_is_heard(veth: str) -> None:
    async def body() -> None:
        heard = link_events.monitor()
        async with contextlib.aclosing(link_events.changes(heard)) as changes:
            subprocess.run(["ip", "link", "set", veth, "up"], check=True)
            await asyncio.wait_for(anext(changes), 10)
        assert heard.fileno() == -1

    asyncio.run(body())


@pytest.mark.root
def test_many_changes_at_once_are_one_reason_to_look(veth: str) -> None:
    """And more than the socket holds are no error."""

    async def body() -> None:
        heard = link_events.monitor()
        heard.setsockopt(1, 8, 2048)  # SOL_SOCKET, SO_RCVBUF
        for state in ("up", "down") * 10:
            subprocess.run(["ip", "link", "set", veth, state], check=True)
        async with contextlib.aclosing(link_events.changes(heard)) as changes:
            await asyncio.wait_for(anext(changes), 10)

    asyncio.run(body())
