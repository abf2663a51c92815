"""docs/metrics.md and the code have the same metrics."""

import re

from prometheus_client import exposition

from tests.deploy import catalog
from tests.sriov.daemon import clients


def test_every_metric_is_on_the_page_and_nothing_else() -> None:
    page = (catalog.ROOT / "docs/metrics.md").read_text()
    listed = re.findall(r"^\| `(sriov_\w+)` \|", page, re.M)
    assert len(listed) == len(set(listed))
    assert set(listed) == catalog.ours()


def test_every_metric_says_what_it_is() -> None:
    assert [name for name, text in catalog.names().items() if not text] == []


def test_openmetrics_has_the_same_samples_as_the_text_format() -> None:
    """And is what its own strict parser takes."""
    for registry in catalog.registries():
        openmetrics = exposition.choose_encoder("application/openmetrics-text")[0](registry).decode()
        found = clients.samples(openmetrics, openmetrics=True)
        assert found.keys() == clients.samples(exposition.generate_latest(registry).decode()).keys()
        assert len(found) > 5
