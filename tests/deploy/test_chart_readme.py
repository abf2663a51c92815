"""The chart's README: a row for every value; tests/deploy/test_values_schema.py shows that it is up to date."""

import pytest

from hack.pages import chart_readme
from tests.deploy import rendering

ABOUT = "name: a\ndescription: It does\nkubeVersion: '1'\n"


def test_a_group_has_rows_for_its_keys_or_is_one() -> None:
    values = "# All of it.\n\n# Some.\na:\n  # More\n  # of it.\n  b: [x]\n# One|two.\nc:\n  d: 1\n"
    assert chart_readme.page(ABOUT, values).splitlines()[-4:] == [
        "|---|---|---|",
        "| `a` |  | Some. |",
        '| `a.b` | `["x"]` | More of it. |',
        '| `c` | `{"d": 1}` | One\\|two. |',
    ]


def test_a_group_may_explain_its_values() -> None:
    rows = chart_readme.page(ABOUT, "# Some.\na:\n  b: 1\n  # It.\n  c: 1\n").splitlines()
    assert rows[-3:] == ["| `a` |  | Some. |", "| `a.b` | `1` |  |", "| `a.c` | `1` | It. |"]


@pytest.mark.parametrize(("values", "named"), [("a: 1\n", "a"), ("b:\n  # It.\n  c: 1\n  d: 1\n", "b.d")])
def test_a_value_that_nothing_explains_is_an_error(values: str, named: str) -> None:
    with pytest.raises(ValueError, match=f"values.yaml: {named} has no comment"):
        chart_readme.page(ABOUT, values)


def test_the_table_has_the_values_of_today() -> None:
    text = (rendering.CHART / "README.md").read_text()
    for row in (
        '| `kubelet.root` | `"/var/lib/kubelet"` | The kubelet\'s --root-dir. |',
        "| `hooks.removeShim` | `true` |",
    ):
        assert row in text
