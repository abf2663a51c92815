"""A VF's declared defaults are kept for that very device; a damaged file declares nothing and is reported."""

import logging
import pathlib

import pytest

from sriov import devices, errors, settings
from sriov.state import vf_defaults
from tests.fakes import sysfs_tree

PF = devices.pci_address("0000:01:00.0")
VF = devices.pci_address("0000:01:10.0")
TRUSTED = settings.Switches(trust=True)
OPEN = settings.Switches(trust=True, spoofchk=False)


@pytest.fixture
def book(tmp_path: pathlib.Path) -> vf_defaults.Defaults:
    """Of a run directory that no daemon has seen yet."""
    (tmp_path / "run").mkdir(mode=0o700)
    return vf_defaults.Defaults(tmp_path / "run/defaults")


def path(folder: pathlib.Path) -> pathlib.Path:
    return folder / f"run/defaults/{VF}.json"


@pytest.mark.parametrize("declared", [TRUSTED, OPEN, settings.Switches(spoofchk=True)])
def test_what_is_declared_lasts(
    book: vf_defaults.Defaults, hardware: sysfs_tree.SysfsTree, tmp_path: pathlib.Path, declared: settings.Switches
) -> None:
    assert book.of(hardware.tree, VF) == settings.UNNAMED
    book.declare(hardware.tree, VF, declared)
    assert book.of(hardware.tree, VF) == book.written(hardware.tree, VF) == declared
    assert (path(tmp_path).stat().st_mode & 0o777, path(tmp_path).parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_nothing_that_is_declared_is_no_file(
    book: vf_defaults.Defaults, hardware: sysfs_tree.SysfsTree, tmp_path: pathlib.Path
) -> None:
    book.declare(hardware.tree, VF, settings.UNNAMED)
    assert list((tmp_path / "run").iterdir()) == []
    book.declare(hardware.tree, VF, TRUSTED)
    for _ in range(2):
        book.declare(hardware.tree, VF, settings.UNNAMED)
        assert book.written(hardware.tree, VF) == settings.UNNAMED
        assert list((tmp_path / "run/defaults").iterdir()) == []


def test_nothing_is_declared_of_another_device_at_the_same_address(
    book: vf_defaults.Defaults, hardware: sysfs_tree.SysfsTree
) -> None:
    book.declare(hardware.tree, VF, TRUSTED)
    folder = hardware.tree.pci(VF).resolve()
    folder.rename(folder.with_name("former"))  # so that its inode is not given to the next
    folder.mkdir()
    assert book.written(hardware.tree, VF) == settings.UNNAMED


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"device": 1}', b'{"device": 1, "declared": {"trust": "on"}}', b"\xff", b"[" * 9999]
)
def test_a_damaged_file_declares_nothing_and_is_told(
    book: vf_defaults.Defaults,
    hardware: sysfs_tree.SysfsTree,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    text: bytes,
) -> None:
    book.declare(hardware.tree, VF, TRUSTED)
    path(tmp_path).write_bytes(text)
    assert book.written(hardware.tree, VF) is None
    caplog.clear()
    assert book.of(hardware.tree, VF) == settings.UNNAMED
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for part in (VF, str(path(tmp_path)), "the baseline applies", "sriovctl provision --apply"):
        assert part in told
    book.declare(hardware.tree, VF, OPEN)
    assert book.of(hardware.tree, VF) == OPEN


def test_what_is_no_file_declares_nothing(
    book: vf_defaults.Defaults, hardware: sysfs_tree.SysfsTree, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    path(tmp_path).mkdir(parents=True)
    assert book.of(hardware.tree, VF) == settings.UNNAMED
    assert "Is a directory" in caplog.text
    with pytest.raises(errors.LedgerError, match=f"cannot use the ledger .*{VF}"):
        book.declare(hardware.tree, VF, TRUSTED)


def test_a_newer_versions_file_is_read_as_far_as_it_is_known(
    book: vf_defaults.Defaults, hardware: sysfs_tree.SysfsTree, tmp_path: pathlib.Path
) -> None:
    book.declare(hardware.tree, VF, TRUSTED)
    birth = hardware.tree.birth(VF)
    newer = f'{{"device": {birth}, "by": "x", "declared": {{"vlan": 5, "spoofchk": false}}}}'
    path(tmp_path).write_text(newer)
    assert book.of(hardware.tree, VF) == settings.Switches(spoofchk=False)


def test_a_folder_that_others_can_change_is_refused(
    book: vf_defaults.Defaults, hardware: sysfs_tree.SysfsTree, tmp_path: pathlib.Path
) -> None:
    book.create()
    (tmp_path / "run/defaults").chmod(0o777)
    with pytest.raises(errors.LedgerError, match="users other than its owner can change"):
        book.declare(hardware.tree, VF, TRUSTED)
