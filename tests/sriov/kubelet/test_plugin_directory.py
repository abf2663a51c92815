"""Identity of the kubelet's directory."""

import asyncio
import os
import pathlib
import socket

import pytest

from sriov.kubelet import plugin_directory
from tests.deviceplugin import loops

HERE, OTHER = (1, 2, 3), (1, 2, 4)  # one inode, used twice
BEFORE = plugin_directory.Sight(HERE, HERE)


@pytest.mark.parametrize(
    ("now", "watched", "reason"),
    [
        (BEFORE, True, None),
        (plugin_directory.Sight(HERE, None), True, None),
        (BEFORE, False, plugin_directory.Lost.NOT_WATCHED),
        (plugin_directory.Sight(None, HERE), True, plugin_directory.Lost.SOCKET_GONE),
        (plugin_directory.Sight(None, None), False, plugin_directory.Lost.SOCKET_GONE),
        (plugin_directory.Sight(OTHER, OTHER), True, plugin_directory.Lost.SOCKET_REPLACED),
        (plugin_directory.Sight(HERE, OTHER), True, plugin_directory.Lost.NEW_KUBELET),
    ],
)
def test_d12_what_ends_a_registration(
    now: plugin_directory.Sight, watched: bool, reason: plugin_directory.Lost | None
) -> None:
    assert plugin_directory.lost(BEFORE, now, watched=watched) is reason


def bind(path: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def test_a_socket_keeps_its_identity_until_it_is_another(tmp_path: pathlib.Path) -> None:
    path, renamed = tmp_path / "a.sock", tmp_path / "b.sock"
    bind(path)
    first = plugin_directory.identity(path)
    os.chmod(path, 0o600)  # noqa: PTH101
    path.rename(renamed)
    assert first == plugin_directory.identity(renamed) is not None
    renamed.unlink()
    bind(renamed)
    assert plugin_directory.identity(renamed) not in (None, first)


def test_only_a_socket_has_an_identity(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    bind(tmp_path / "a.sock")
    (tmp_path / "link").symlink_to("a.sock")
    assert [plugin_directory.identity(tmp_path / name) for name in ("file", "none", "link")] == [None] * 3


def test_a_socket_without_a_listener_accepts_nothing(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        bind(tmp_path / "a.sock")
        assert not await plugin_directory.accepts(tmp_path / "a.sock")
        assert not await plugin_directory.accepts(tmp_path / "none.sock")
        async with await asyncio.start_unix_server(lambda _, writer: writer.close(), tmp_path / "b.sock"):
            assert await plugin_directory.accepts(tmp_path / "b.sock")

    loops.run(body())
