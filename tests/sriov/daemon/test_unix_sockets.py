"""Unix sockets that are whole before they have their name, on a real file system."""

import pathlib
import socket
import stat

import pytest

from sriov.daemon import unix_sockets


def test_a_socket_answers_and_is_its_owners_alone(tmp_path: pathlib.Path) -> None:
    with unix_sockets.listen(tmp_path / "s"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_former_processs_socket_is_replaced(tmp_path: pathlib.Path) -> None:
    with unix_sockets.listen(tmp_path / "s"), unix_sockets.listen(tmp_path / "s"), socket.socket(socket.AF_UNIX) as one:
        one.connect(str(tmp_path / "s"))


def test_another_file_stays(tmp_path: pathlib.Path) -> None:
    (tmp_path / "s").write_text("precious")
    assert unix_sockets.is_blocked(tmp_path / "s")
    with pytest.raises(FileExistsError, match="a file that is not a socket exists there"):
        unix_sockets.listen(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "precious"


def test_a_link_that_leads_nowhere_is_another_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "s").symlink_to(tmp_path / "nowhere")
    assert unix_sockets.is_blocked(tmp_path / "s")


def test_nothing_blocks_a_name_that_is_free(tmp_path: pathlib.Path) -> None:
    assert not unix_sockets.is_blocked(tmp_path / "s")
