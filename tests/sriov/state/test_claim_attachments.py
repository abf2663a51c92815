"""Notes of what a call attached for claims: found by the call's names, and nobody else's to read."""

import pathlib
import stat

import pytest

from sriov import errors
from sriov.state import claim_attachments
from sriov.state.claim_attachments import ClaimAttachment, ClaimAttachments, ClaimedDevice

NOTE = ClaimAttachment(
    container_id="c1",
    ifname="eth0",
    network="n1",
    devices=(ClaimedDevice("0000:01:10.0", "eth0"), ClaimedDevice("0000:01:10.1", "net1", {"type": "static"}, "b")),
)


def test_a_note_is_found_by_its_call_until_it_is_removed(tmp_path: pathlib.Path) -> None:
    book = ClaimAttachments(tmp_path)
    assert (book.has("c1", "eth0"), book.read("c1", "eth0"), book.all()) == (False, None, [])
    book.write(NOTE)
    book.write(NOTE)
    assert (book.has("c1", "eth0"), book.read("c1", "eth0"), book.all()) == (True, NOTE, [NOTE])
    assert (book.read("c1", "net1"), book.read("c2", "eth0")) == (None, None)
    for _ in range(2):
        book.remove("c1", "eth0")
    assert (book.has("c1", "eth0"), book.all()) == (False, [])


def test_only_its_owner_reads_it(tmp_path: pathlib.Path) -> None:
    ClaimAttachments(tmp_path).write(NOTE)
    for path in (tmp_path / "claimed", *(tmp_path / "claimed").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_damaged_one_is_none_and_is_said(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    book = ClaimAttachments(tmp_path)
    book.write(NOTE)
    [path] = (tmp_path / "claimed").iterdir()
    path.write_text("{")
    assert (book.has("c1", "eth0"), book.read("c1", "eth0"), book.all()) == (True, None, [])
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("names", [("c" * 300, "eth0"), ("c1", "\udcff" * 15)])
def test_names_of_any_kind(tmp_path: pathlib.Path, names: tuple[str, str]) -> None:
    book = ClaimAttachments(tmp_path)
    assert (book.has(*names), book.read(*names)) == (False, None)
    book.remove(*names)


def test_one_that_cannot_be_written_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "claimed").write_text("in the way")
    with pytest.raises(errors.LedgerError, match="claimed"):
        claim_attachments.ClaimAttachments(tmp_path).write(NOTE)
