"""Each command of the pages has a test that runs it, and the table has no other."""

import re

import pytest

from tests.examples import pages, table


@pytest.mark.parametrize("page", pages.PAGES)
def test_each_command_has_a_test_and_each_row_a_command(page: str) -> None:
    typed = {(each.page, each.command) for each in pages.examples(page)}
    assert typed == {row for row in table.RUN if row[0] == page}


def test_the_table_knows_no_other_page() -> None:
    assert {page for page, _ in table.RUN} <= set(pages.PAGES)


@pytest.mark.parametrize("name", sorted(set(table.RUN.values())))
def test_the_test_is_there_and_takes_its_commands_from_the_page(name: str) -> None:
    path, _, function = name.partition("::")
    text = pages.text(path)
    assert f"def {function}(" in text
    rows = [page for (page, _), test in table.RUN.items() if test == name]
    asks = f'table.run_by(__file__, "{function}")' in text
    assert asks or all(f'"{page}"' in text for page in rows)


def test_ci_types_what_no_test_can() -> None:
    ran = [line.split()[0] for line in (pages.ROOT / ".ci/run").read_text().splitlines() if line.startswith("hack/")]
    examples = table.run_by(__file__, "test_ci_types_what_no_test_can")
    assert sorted(f"./{each}" for each in ran) == sorted(each.command for each in examples)


def test_what_is_only_named_is_somewhere() -> None:
    text = " ".join("".join(pages.text(page) for page in pages.PAGES).split())
    assert [each for each in sorted(pages.NAMED) if not re.search(rf"`{re.escape(each)}`", text)] == []


def test_a_command_and_what_is_printed_below_it() -> None:
    """The reader of the pages reads what is meant: remarks are none of a command, output is none either."""
    [example, *_] = [each for each in pages.examples("docs/metrics.md") if each.command.startswith("curl")]
    assert example.printed == "ok\n"
    assert pages.Example("docs/lab.md", "hack/lab clean", prompt="#") in pages.examples("docs/lab.md")
