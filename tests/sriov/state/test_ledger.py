"""Records survive, are found, and damage costs nobody a VF."""

import json
import pathlib
import stat

import pytest

from sriov import devices, errors, settings
from sriov.state import ledger, vf_identity

VF = devices.pci_address("0000:01:10.0")


def record(pci: devices.PciAddress = VF, container_id: str = "c1", ifname: str = "net1") -> ledger.Record:
    return ledger.Record(
        pci=pci,
        owner=ledger.Owner(container_id=container_id, ifname=ifname, network="n1", netns="/run/netns/x"),
        netns=(4, 1),
        home=vf_identity.VfIdentity(name="enp1s0v0", address="02:00:00:00:00:01", mtu=1500),
        wanted=settings.VfSettings(vlan=7, link_state=settings.LinkState.ENABLE),
        mtu=1400,
    )


@pytest.fixture
def book(tmp_path: pathlib.Path) -> ledger.Ledger:
    made = ledger.Ledger(tmp_path / "run")
    made.create()
    return made


def test_what_is_written_is_read(book: ledger.Ledger) -> None:
    assert book.read(VF) is None
    book.write(record())
    assert book.read(VF) == record()
    book.remove(VF)
    book.remove(VF)
    assert book.read(VF) is None


def test_only_root_can_look(book: ledger.Ledger, tmp_path: pathlib.Path) -> None:
    book.write(record())
    path = tmp_path / "run/vfs/0000:01:10.0.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parents[1])} == {0o700}


def test_f45_an_attachment_is_found_by_both_its_names(book: ledger.Ledger) -> None:
    other = devices.pci_address("0000:01:10.2")
    book.write(record(container_id="a-b", ifname="c"))
    book.write(record(other, container_id="a", ifname="b-c"))
    found = book.find("a", "b-c")
    assert found is not None
    assert found.pci == other
    assert book.find("a", "net1") is None


def test_f8_a_record_damaged_at_any_length_has_an_unknown_owner(book: ledger.Ledger, tmp_path: pathlib.Path) -> None:
    book.write(record())
    path = tmp_path / "run/vfs/0000:01:10.0.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = book.read(VF)
        assert found
        assert (found.pci, found.owner) == (VF, ledger.UNKNOWN)
        assert [each.owner for each in book.records()] == [ledger.UNKNOWN]
        assert book.find("c1", "net1") is None
    book.remove(VF)
    assert book.read(VF) is None


def test_a_file_that_is_no_record_is_passed_over(book: ledger.Ledger, tmp_path: pathlib.Path) -> None:
    (tmp_path / "run/vfs/notes.json").write_text("mine")
    assert list(book.records()) == []


def test_a_record_of_the_former_version_is_read(book: ledger.Ledger, tmp_path: pathlib.Path) -> None:
    book.write(record())
    path = tmp_path / "run/vfs/0000:01:10.0.json"
    newer = {"mark", "rdma", "device", "ipam"}
    path.write_bytes(json.dumps({k: v for k, v in json.loads(path.read_bytes()).items() if k not in newer}).encode())
    assert book.read(VF) == record()


@pytest.mark.parametrize(
    "later",
    [
        {"version": ledger.FORMAT + 1},
        {"version": ledger.FORMAT + 1, "wanted": {"vlan": [7, 8]}, "netns": "by name", "mtu": None},
        {"wanted": {"link_state": "as the neighbour's"}},
    ],
)
def test_of_a_newer_record_the_owner_and_the_home_are_known(
    book: ledger.Ledger, tmp_path: pathlib.Path, later: dict[str, object]
) -> None:
    """An older daemon brings the VF home at its owner's DEL, and gives it to nobody until then."""
    book.write(record())
    path = tmp_path / "run/vfs/0000:01:10.0.json"
    path.write_bytes(json.dumps({**json.loads(path.read_bytes()), **later}).encode())
    found = book.find("c1", "net1")
    assert found
    assert (found.pci, found.home, found.wanted) == (VF, record().home, settings.BASELINE)


def test_a_field_that_only_newer_versions_know_is_passed_over(book: ledger.Ledger, tmp_path: pathlib.Path) -> None:
    book.write(record())
    path = tmp_path / "run/vfs/0000:01:10.0.json"
    path.write_bytes(json.dumps({**json.loads(path.read_bytes()), "queues": [1, {"x": 2}]}).encode())
    assert book.read(VF) == record()


def test_a_ledger_that_was_never_created_is_empty(tmp_path: pathlib.Path) -> None:
    assert list(ledger.Ledger(tmp_path / "absent").records()) == []


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "vfs").write_text("")
    for look in (lambda book: list(book.records()), lambda book: book.held(), lambda book: book.find("c1", "net1")):
        with pytest.raises(errors.LedgerError, match=r"cannot list .*vfs: Not a directory"):
            look(ledger.Ledger(tmp_path))


def test_f10_an_unusable_directory_is_a_clear_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(errors.LedgerError, match="cannot use the ledger"):
        ledger.Ledger(tmp_path / "run").create()
    with pytest.raises(errors.LedgerError, match="cannot use the ledger"):
        ledger.Ledger(tmp_path / "run").write(record())


@pytest.mark.parametrize("name", ["run", "run/vfs", "run/homes"])
def test_f10_a_directory_that_others_can_write_is_refused(tmp_path: pathlib.Path, name: str) -> None:
    ledger.Ledger(tmp_path / "run").create()
    (tmp_path / name).chmod(0o770)
    with pytest.raises(errors.LedgerError, match="users other than its owner can change"):
        ledger.Ledger(tmp_path / "run").create()


def test_f53_a_symlink_planted_as_the_draft_is_not_followed(book: ledger.Ledger, tmp_path: pathlib.Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run/vfs/0000:01:10.0.tmp").symlink_to(victim)
    book.write(record())
    assert victim.read_text() == "precious"
    assert not (tmp_path / "run/vfs/0000:01:10.0.json").is_symlink()
    assert book.read(VF) == record()
