"""docs/metrics.md and the code have the same metrics."""

import re

from tests.deploy import catalog


def test_every_metric_is_on_the_page_and_nothing_else() -> None:
    page = (catalog.ROOT / "docs/metrics.md").read_text()
    listed = re.findall(r"^\| `(sriov_\w+)` \|", page, re.M)
    assert len(listed) == len(set(listed))
    assert set(listed) == catalog.ours()


def test_every_metric_says_what_it_is() -> None:
    assert [name for name, text in catalog.names().items() if not text] == []
