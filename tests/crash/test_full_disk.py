"""F9: the ledger's file system is full. A file size limit stands for it: a write stops there, as on a full tmpfs."""

import contextlib
import pathlib
import resource
from collections.abc import Iterator

import pytest

from sriov import errors
from sriov.state import ledger
from tests.crash import invariants, mortal, steps


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """In this process, until the end of the context. Python ignores SIGXFSZ, so that a write fails with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def here(folder: pathlib.Path) -> Iterator[mortal.MortalNode]:
    with mortal.MortalNode(folder) as made:
        for name in steps.CONTAINERS:
            made.pod(name)
        yield made


def test_f9_a_write_that_stops_at_any_byte_leaves_the_former_record(here: mortal.MortalNode) -> None:
    steps.take(here, (steps.add("c1"),))
    [record] = here.records().values()
    book = ledger.Ledger(here.run_dir)
    size = (here.run_dir / f"vfs/{record.pci}.json").stat().st_size
    for limit in range(0, size, 7):
        with files_of_at_most(limit), pytest.raises(errors.LedgerError, match="cannot use the ledger"):
            book.write(another(record))
        assert here.records() == {record.pci: record}, limit


def another(record: ledger.Record) -> ledger.Record:
    """Another record of the same VF."""
    return ledger.Record(**{name: getattr(record, name) for name in record.__struct_fields__} | {"mtu": 1234})


def test_f9_an_add_without_room_for_its_record_changes_nothing(here: mortal.MortalNode) -> None:
    before = here.machine.snapshot()
    with files_of_at_most(100):
        answer = here.add("c1", steps.KEYS)
    assert (answer.code, "cannot use the ledger" in answer.message) == (5, True)
    assert here.machine.snapshot() == before
    invariants.assert_settled(here)


def test_f9_a_del_needs_no_room(here: mortal.MortalNode) -> None:
    steps.take(here, (steps.add("c1"),))
    with files_of_at_most(100):
        steps.take(here, (steps.delete("c1"),))
    invariants.assert_settled(here)
