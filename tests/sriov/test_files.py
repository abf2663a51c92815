"""Small files that are whole or not there, on a real file system."""

import os
import pathlib
import stat
import subprocess
import sys

import pytest

from sriov import files


def test_a_file_is_replaced_and_no_draft_is_left(tmp_path: pathlib.Path) -> None:
    path, draft = tmp_path / "file", tmp_path / ".file.new"
    path.write_text("old")
    files.write(path, b"new", draft=draft)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o644, 0o755])
def test_the_mode_is_the_one_asked_for_whatever_the_umask(tmp_path: pathlib.Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        files.write(tmp_path / "file", b"content", draft=tmp_path / "draft", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_what_lies_where_the_draft_goes_is_replaced_and_not_followed(tmp_path: pathlib.Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for plant in (pathlib.Path.symlink_to, pathlib.Path.hardlink_to):
        plant(tmp_path / "draft", victim)
        files.write(tmp_path / "file", b"content", draft=tmp_path / "draft")
        assert victim.read_text() == "precious"
        assert (tmp_path / "file").read_bytes() == b"content"


def test_a_folder_where_the_draft_goes_is_an_error_and_the_file_stays(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "draft").mkdir()
    with pytest.raises(OSError, match="draft"):
        files.write(tmp_path / "file", b"new", draft=tmp_path / "draft")
    assert (tmp_path / "file").read_text() == "old"


FILLING = """
import pathlib, resource, signal, sys
from sriov import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
folder = pathlib.Path(sys.argv[1])
try:
    files.write(folder / "file", b"x" * 10000, draft=folder / "draft")
except OSError as error:
    sys.exit(error.errno)
"""


def test_a_file_that_has_no_room_leaves_the_old_one(tmp_path: pathlib.Path) -> None:
    """write(2) takes the 4096 bytes that fit and refuses the rest when asked again."""
    (tmp_path / "file").write_text("old")
    done = subprocess.run([sys.executable, "-c", FILLING, tmp_path], check=False)
    assert done.returncode == 27, "EFBIG"
    assert (tmp_path / "file").read_text() == "old"


def test_a_staged_draft_waits_for_its_rename(tmp_path: pathlib.Path) -> None:
    files.stage(tmp_path / "draft", b"content", 0o755, durable=True)
    assert os.listdir(tmp_path) == ["draft"]
    assert (tmp_path / "draft").read_bytes() == b"content"
