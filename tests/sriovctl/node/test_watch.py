"""following: what happens is not missed, whenever it does and whatever becomes of the folder that it happens in.

A look without a reason would come an hour later.
"""

import asyncio
import contextlib
import pathlib
import shutil
from collections.abc import Callable

from sriovctl.node import watch

PATIENCE, NEVER = 20.0, 3600.0


def wakes(folder: pathlib.Path, *happens: Callable[[], object]) -> None:
    """Each happens right behind the wake before it, so that nothing of this process runs in between."""

    async def followed() -> None:
        async with contextlib.aclosing(watch.changes([folder], NEVER)) as woken:
            await anext(woken)
            for happen in happens:
                happen()
                await asyncio.wait_for(anext(woken), PATIENCE)

    asyncio.run(followed())


def test_what_happens_during_the_first_look(tmp_path: pathlib.Path) -> None:
    wakes(tmp_path, (tmp_path / "record").touch)


def test_a_folder_that_comes_later(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "vfs"
    wakes(folder, folder.mkdir, (folder / "record").touch)


def test_a_folder_that_is_replaced(tmp_path: pathlib.Path) -> None:
    """The old one's end is the first reason, the new one the second; only the third can be a file in it."""
    folder = tmp_path / "vfs"
    folder.mkdir()

    def replace() -> None:
        shutil.rmtree(folder)
        folder.mkdir()

    wakes(folder, replace, (folder / "first").touch, (folder / "second").touch)
