"""docs/dra.md: its examples are what the page says they are."""

import pathlib
import re

from sriov.pools import config, resources

PAGE = (pathlib.Path(__file__).parents[2] / "docs/dra.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_configuration() -> None:
    read = config.parse(blocks("json")[0].encode(), "docs/dra.md", "intel.com")
    assert [each.full_name for each in read.published(resources.Publication.DRA)] == ["intel.com/rail_a"]
    assert read.warnings == ()
