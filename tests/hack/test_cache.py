"""Cache of a guest's parts, with files that stand in for them."""

import fcntl
import io
import threading
from pathlib import Path

import pytest

from hack.guest import progress
from hack.guest.downloads import cache, parts


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A cache as `hack/lab fetch` leaves it."""
    root = tmp_path / "cache/parts/root"
    (root / "boot").mkdir(parents=True)
    (root / "boot/vmlinuz-6.12").write_bytes(b"kernel")
    parts.seal(parts.Parts(root, "6.12"), root.parent)
    return tmp_path / "cache"


def test_a_whole_cache_is_verified_while_a_guest_runs_from_it(filled: Path) -> None:
    """A guest may run for hours."""
    found: list[parts.Parts] = []
    quiet = progress.Progress(io.StringIO(), quiet=True)
    with cache.borrowed(filled, quiet):
        verifying = threading.Thread(target=lambda: found.append(cache.fetch(filled, quiet)), daemon=True)
        verifying.start()
        verifying.join(20)
        assert [each.release for each in found] == ["6.12"]


def test_a_cache_that_has_changed_is_not_filled_while_a_guest_runs_from_it(filled: Path) -> None:
    told = io.StringIO()
    with cache.borrowed(filled, progress.Progress(io.StringIO(), quiet=True)):
        (filled / "parts/root/boot/vmlinuz-6.12").write_bytes(b"another")
        with (filled / "lock").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        waiting = threading.Thread(target=_fetch, args=(filled, progress.Progress(told)), daemon=True)
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive()
        assert "lab: waiting until no guest runs from the cache" in told.getvalue()
        (filled / "parts/root/boot/vmlinuz-6.12").write_bytes(b"kernel")  # so that nothing is to be fetched after all
    waiting.join(20)
    assert not waiting.is_alive()


def _fetch(filled: Path, shown: progress.Progress) -> None:
    cache.fetch(filled, shown)
