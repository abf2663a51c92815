"""docs/conformance.md has every item once, and each test that it names is there."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs/conformance.md").read_text()


@pytest.mark.parametrize(("letter", "last", "columns"), [("C", 84, 2), ("F", 62, 2), ("H", 24, 3)])
def test_every_item_has_a_row(letter: str, last: int, columns: int) -> None:
    rows = re.findall(rf"^\| {letter}(\d+) \|(?: [^|]+ \|){{{columns}}}$", PAGE, re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, last + 1))


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE))
    assert len(named) > 80
    for path, name in named:
        assert re.search(rf"(def|class) {name}\b", (ROOT / path).read_text()), f"{path}::{name}"
