"""docs/provisioning.md: its file is applied, its table is what is shown, every key is on it."""

import pathlib
import re

from sriov.provisioning import document
from sriovctl.views import plans
from tests.sriov.provisioning import nodes

PAGE = (pathlib.Path(__file__).parents[3] / "docs/provisioning.md").read_text()


def test_the_example(empty: nodes.Node) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    planned = empty.apply(example)
    assert [vf.mtu for number in (0, 1) for vf in empty.pf(number).vfs] == [9000] * 14
    assert empty.plan(example).steps == ()
    [shown] = re.findall(r"DEVICE +SETTING.*?\n(.*?)\n…", PAGE, re.DOTALL)
    rows = [[cell.text for cell in row] for row in plans.table(planned).rows]
    assert [re.split(r"  +", line) for line in shown.splitlines()] == rows[: len(rows) // 2]


def test_every_key() -> None:
    for keys in document.KEYS.values():
        assert [key for key in keys if f"`{key}`" not in PAGE and f"{key}:" not in PAGE] == []
