"""Grants of claims: whole, found by device, and never out of their folder."""

import pathlib

import pytest

from sriov import errors
from sriov.state import grants

GRANT = grants.ClaimGrant(
    uid="8d1b7a5e-0001",
    namespace="ml",
    name="rails",
    pods=(grants.GrantedPod("train-0", "pod-uid"),),
    devices=(grants.GrantedDevice("0000:01:10.0", "vf", "node/intel.com/a", "0000-01-10-0", network={"vlan": 5}),),
)


@pytest.fixture
def book(tmp_path: pathlib.Path) -> grants.Grants:
    made = grants.Grants(tmp_path)
    made.create()
    return made


def test_a_grant_is_found_by_its_claim_and_by_its_device_until_it_is_removed(book: grants.Grants) -> None:
    book.write(GRANT)
    book.write(GRANT)
    assert (book.read(GRANT.uid), book.all(), book.by_device()) == (GRANT, [GRANT], {"0000:01:10.0": GRANT})
    book.remove(GRANT.uid)
    book.remove(GRANT.uid)
    assert (book.read(GRANT.uid), book.all()) == (None, [])


def test_a_node_without_claims_has_no_folder(tmp_path: pathlib.Path) -> None:
    assert grants.Grants(tmp_path).all() == []


def test_only_its_owner_reads_it(book: grants.Grants, tmp_path: pathlib.Path) -> None:
    book.write(GRANT)
    [path] = (tmp_path / "claims").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("uid", ["", "../vfs/x", "a/b", ".x", "a" * 64])
def test_a_uid_that_would_leave_the_folder_is_refused(book: grants.Grants, uid: str) -> None:
    with pytest.raises(errors.LedgerError, match="is not the UID of a claim"):
        book.remove(uid)


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2, "uid": "x", "namespace": "a", "name": "b"}'])
def test_a_grant_that_cannot_be_read_is_an_error(book: grants.Grants, tmp_path: pathlib.Path, text: str) -> None:
    """It may be about any device."""
    (tmp_path / "claims/x.json").write_text(text)
    with pytest.raises(errors.LedgerError, match=r"the grant .*x\.json cannot be read: .*; remove that file once"):
        book.by_device()
