from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from hack.guest import errors, progress
from hack.guest.downloads import apt, cache, parts


@pytest.fixture
def sealed(tmp_path: Path) -> parts.Parts:
    have = parts.Parts(tmp_path / "root", "6.12.1-amd64")
    have.kernel.parent.mkdir(parents=True)
    have.kernel.write_bytes(b"kernel")
    (have.root / "link").symlink_to("nowhere")
    parts.seal(have, tmp_path)
    return have


def test_what_was_sealed_is_found_again(sealed: parts.Parts, tmp_path: Path) -> None:
    assert parts.load(tmp_path) == parts.verify(tmp_path) == sealed


def test_a_changed_size_is_seen_at_every_start(sealed: parts.Parts, tmp_path: Path) -> None:
    sealed.kernel.write_bytes(b"another kernel")
    assert parts.load(tmp_path) is None


def test_changed_bytes_of_the_same_size_and_time_are_seen_by_verifying(sealed: parts.Parts, tmp_path: Path) -> None:
    before = sealed.kernel.stat().st_mtime_ns
    sealed.kernel.write_bytes(b"lernek")
    os.utime(sealed.kernel, ns=(before, before))
    assert parts.load(tmp_path) == sealed
    assert parts.verify(tmp_path) is None


def test_a_missing_file_is_seen(sealed: parts.Parts, tmp_path: Path) -> None:
    sealed.kernel.unlink()
    assert parts.load(tmp_path) is None


@pytest.mark.parametrize("manifest", ["", "[]", '{"release": "1"}', "\0"])
def test_a_damaged_manifest_is_no_cache(tmp_path: Path, manifest: str) -> None:
    (tmp_path / parts.MANIFEST).write_text(manifest)
    assert parts.load(tmp_path) is None


def test_packages_without_a_kernel_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.UnavailableError, match="no kernel"):
        parts.found(tmp_path)


def test_cleaning_leaves_nothing_but_the_lock(tmp_path: Path) -> None:
    (tmp_path / "parts" / "root").mkdir(parents=True)
    cache.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_cache_in_use_is_not_cleaned(sealed: parts.Parts, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("root", parts.MANIFEST):
        (home / "parts").mkdir(exist_ok=True)
        (tmp_path / name).rename(home / "parts" / name)
    with cache.borrowed(home, progress.Progress(io.StringIO(), quiet=True)) as have:
        with pytest.raises(errors.LabError, match="a guest is running"):
            cache.clean(home)
        assert have.release == sealed.release


@pytest.mark.parametrize(
    ("line", "fraction"),
    [("dlstatus:3:42.5:Retrieving file 4 of 20", 0.425), ("pmstatus:dpkg:10:x", None), ("\n", None)],
)
def test_apts_status_lines(line: str, fraction: float | None) -> None:
    assert apt.downloaded(line) == fraction
