"""Level of a running daemon's log: by signals, and by a file as the kubelet keeps it."""

import asyncio
import io
import logging
import os
import pathlib
import signal
from collections.abc import Iterator

import pytest

from sriov.daemon import background, log_level, logs
from tests.deviceplugin import loops

log = logging.getLogger("tests.level")


class Kept:
    """A volume of the downward API: the kubelet writes a folder, and then moves a link to it (atomic_writer.go)."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder, self._version = folder, 0
        self.file = folder / "log-level"

    def write(self, content: bytes) -> None:
        self._version += 1
        new, link = self._folder / f"..{self._version}", self._folder / "..data_tmp"
        new.mkdir()
        (new / "log-level").write_bytes(content)
        link.symlink_to(new.name)
        link.rename(self._folder / "..data")
        if not self.file.is_symlink():
            self.file.symlink_to("..data/log-level")


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What is logged. The root logger's level is the process's: it is set back."""
    root, stream = logging.getLogger(), io.StringIO()
    before, handler = root.level, logs.handler(stream, logs.Format.HUMAN)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


async def hears(said: io.StringIO, text: str, times: int = 1) -> None:
    await loops.until(lambda: said.getvalue().count(text) == times)


def level() -> str:
    return logging.getLevelName(logging.getLogger().level).lower()


def test_signals_change_the_level_and_say_so(said: io.StringIO) -> None:
    async def body() -> None:
        async with log_level.followed("error", None, background.Background()):
            for number, wanted, times in ((signal.SIGUSR1, "debug", 1), (signal.SIGUSR2, "error", 1)):
                os.kill(os.getpid(), number)
                await hears(said, f"the log level is now {wanted}", times)
                assert log.isEnabledFor(logging.DEBUG) == (wanted == "debug")
            os.kill(os.getpid(), signal.SIGUSR2)
            await hears(said, "the log level is now error", 2)

    loops.run(body())
    assert said.getvalue().count("the log level is now") == 3


def test_a_file_changes_the_level_as_soon_as_it_changes(tmp_path: pathlib.Path, said: io.StringIO) -> None:
    """An annotation that is made, changed, and removed; a signal goes before the file until the file changes."""
    kept = Kept(tmp_path)
    kept.write(b"")

    async def body() -> None:
        async with log_level.followed("warning", kept.file, background.Background()):
            kept.write(b"debug")
            await hears(said, "the log level is now debug")
            kept.write(b" INFO\n")
            await hears(said, "the log level is now info")
            os.kill(os.getpid(), signal.SIGUSR1)
            await hears(said, "the log level is now debug", 2)
            os.kill(os.getpid(), signal.SIGUSR2)
            await hears(said, "the log level is now info", 2)
            kept.write(b"")
            await hears(said, "the log level is now warning")
            assert level() == "warning"

    loops.run(body())
    assert len(said.getvalue().splitlines()) == 5


def test_a_file_that_is_there_at_the_start_counts(tmp_path: pathlib.Path, said: io.StringIO) -> None:
    kept = Kept(tmp_path)
    kept.write(b"error")

    async def body() -> None:
        async with log_level.followed("warning", kept.file, background.Background()):
            await hears(said, "the log level is now error")

    loops.run(body())


@pytest.mark.parametrize("content", [b"loud", b"10", b"debug info", b"\xff\x00", b"x" * 100_000])
def test_a_level_that_is_none_is_named_once_and_changes_nothing(
    tmp_path: pathlib.Path, said: io.StringIO, content: bytes
) -> None:
    kept = Kept(tmp_path)
    kept.write(b"info")

    async def body() -> None:
        async with log_level.followed("warning", kept.file, background.Background()):
            await hears(said, "the log level is now info")
            for _ in range(3):
                kept.write(content)
                await asyncio.sleep(0.05)
            await hears(said, f"in {kept.file} invalid")
            assert level() == "info"
            kept.write(b"debug")
            await hears(said, "the log level is now debug")

    loops.run(body())
    [line] = [each for each in said.getvalue().splitlines() if " ERROR " in each]
    assert f"in {kept.file} invalid: use one of debug, info, warning, error; the level is kept" in line
    assert len(line) < 500


def test_a_file_that_cannot_be_read_is_named(tmp_path: pathlib.Path, said: io.StringIO) -> None:
    async def body() -> None:
        async with log_level.followed("warning", tmp_path, background.Background()):
            await hears(said, f"the log level in {tmp_path} cannot be read: Is a directory; the level is kept")

    loops.run(body())


def test_a_fifo_makes_nobody_wait(tmp_path: pathlib.Path, said: io.StringIO) -> None:
    os.mkfifo(tmp_path / "level")

    async def body() -> None:
        async with log_level.followed("warning", tmp_path / "level", background.Background()):
            await hears(said, "cannot be read: it is no regular file; the level is kept")

    loops.run(body())


def test_a_file_that_is_not_there_changes_nothing(tmp_path: pathlib.Path, said: io.StringIO) -> None:
    async def body() -> None:
        async with log_level.followed("warning", tmp_path / "none", background.Background()):
            await asyncio.sleep(0.2)

    loops.run(body())
    assert (said.getvalue(), level()) == ("", "warning")
