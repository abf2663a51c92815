"""Changes of a folder, by the real inotify: none is missed, whatever becomes of the folder."""

import asyncio
import os
import pathlib
import shutil
import time
from collections.abc import Callable

import pytest

from sriov.daemon import folder_watch
from tests.deviceplugin import loops

NEVER = 3600.0


async def notices(changed: asyncio.Event, happen: Callable[[], object], quiet: float = 0.5) -> None:
    """`quiet` without an event comes first, so that only an event of what happens can be in time."""
    await asyncio.sleep(quiet)
    changed.clear()
    happen()
    await asyncio.wait_for(changed.wait(), 1)


def test_d12_changes_are_noticed_though_the_folder_is_missing_or_replaced(tmp_path: pathlib.Path) -> None:
    folder, changed = tmp_path / "device-plugins", asyncio.Event()

    async def body() -> None:
        async with loops.running(folder_watch.changes(folder, changed.set, 0.15, NEVER)):
            folder.mkdir()
            await notices(changed, (folder / "a.sock").touch)
            await notices(changed, (folder / "b.sock").touch)
            shutil.rmtree(folder)
            folder.mkdir()
            await notices(changed, (folder / "c.sock").touch)

    loops.run(body())


@pytest.mark.parametrize(
    "happen",
    [
        lambda folder: (folder / "new").touch(),
        lambda folder: (folder / "old").unlink(),
        lambda folder: (folder / "old").write_text("content"),
        lambda folder: (folder / "old").chmod(0o600),
        lambda folder: (folder / "old").rename(folder / "renamed"),
        lambda folder: (folder.parent / "outside").rename(folder / "old"),
        lambda folder: folder.rename(folder.with_name("elsewhere")),
    ],
    ids=["new", "removed", "written", "mode", "renamed", "replaced", "folder moved"],
)
def test_a_change_is_noticed_by_its_event_alone(
    tmp_path: pathlib.Path, happen: Callable[[pathlib.Path], object]
) -> None:
    folder, changed = tmp_path / "folder", asyncio.Event()
    folder.mkdir()
    for path in (folder / "old", tmp_path / "outside"):
        path.touch()

    async def body() -> None:
        async with loops.running(folder_watch.changes(folder, changed.set, NEVER, NEVER)):
            await notices(changed, lambda: happen(folder), 0.05)

    loops.run(body())


def test_another_folder_at_the_path_is_found_by_comparison(tmp_path: pathlib.Path) -> None:
    """The folder that is watched keeps its name, and its parent gets another: inotify tells nothing of that."""
    folder, changed = tmp_path / "parent/folder", asyncio.Event()
    folder.mkdir(parents=True)

    async def body() -> None:
        async with loops.running(folder_watch.changes(folder, changed.set, 0.05, 0.05)):
            await asyncio.sleep(0.2)
            (tmp_path / "parent").rename(tmp_path / "former")
            folder.mkdir(parents=True)
            await notices(changed, (folder / "a").touch)

    loops.run(body())


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_in_which_nothing_happens_says_nothing(tmp_path: pathlib.Path, exists: bool) -> None:
    calls: list[None] = []
    folder = tmp_path if exists else tmp_path / "none"

    async def body() -> None:
        async with loops.running(folder_watch.changes(folder, lambda: calls.append(None), 0.1, 0.1)):
            await asyncio.sleep(0.6)

    loops.run(body())
    assert calls == []


def test_many_changes_at_once_are_few(tmp_path: pathlib.Path) -> None:
    calls: list[None] = []

    async def body() -> None:
        async with loops.running(folder_watch.changes(tmp_path, lambda: calls.append(None), NEVER, NEVER)):
            await asyncio.sleep(0.05)
            for number in range(500):
                (tmp_path / f"file-{number}").touch()
            await asyncio.sleep(0.3)

    loops.run(body())
    assert 1 <= len(calls) <= 5


def test_an_idle_watch_costs_nothing_and_leaves_no_descriptor(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        before, began = len(os.listdir("/proc/self/fd")), time.process_time()
        async with loops.running(folder_watch.changes(tmp_path, lambda: None, NEVER, NEVER)):
            await asyncio.sleep(0.5)
            assert time.process_time() - began < 0.1
            assert len(os.listdir("/proc/self/fd")) > before
        assert len(os.listdir("/proc/self/fd")) == before

    loops.run(body())
