"""What `ct lint` of chart-testing looks for: Helm's own findings, the rules for YAML, what Chart.yaml has to say.

Its rules are those of etc/chart_schema.yaml and etc/lintconf.yaml in helm/chart-testing. ct itself is a program in Go
that is not on PyPI. It also asks for `home`, the address of the repository, which only a release knows.
"""

import re
from typing import Any

import pytest
import yaml
from yamllint import config, linter

from tests.deploy import rendering, test_rendering

_NO_SPACE = {
    "min-spaces-inside": 0,
    "max-spaces-inside": 0,
    "min-spaces-inside-empty": -1,
    "max-spaces-inside-empty": -1,
}
RULES = {
    "braces": _NO_SPACE,
    "brackets": _NO_SPACE,
    "colons": {"max-spaces-before": 0, "max-spaces-after": 1},
    "commas": {"max-spaces-before": 0, "min-spaces-after": 1, "max-spaces-after": 1},
    "comments": {"require-starting-space": True, "min-spaces-from-content": 2},
    "empty-lines": {"max": 2, "max-start": 0, "max-end": 0},
    "hyphens": {"max-spaces-after": 1},
    "indentation": {"spaces": "consistent", "indent-sequences": "whatever", "check-multi-line-strings": False},
    "key-duplicates": "enable",
    "new-line-at-end-of-file": "enable",
    "new-lines": {"type": "unix"},
    "trailing-spaces": "enable",
    "truthy": "enable",
}
NEEDED: dict[str, type] = {"name": str, "version": str, "apiVersion": str, "description": str, "maintainers": list}
OPTIONAL: dict[str, type] = {
    **dict.fromkeys(("home", "appVersion", "icon", "kubeVersion", "type"), str),
    **dict.fromkeys(("keywords", "sources"), list),
    "annotations": dict,
}
SEMVER = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


def found(text: str) -> list[str]:
    return [str(each) for each in linter.run(text, config.YamlLintConfig(yaml.safe_dump({"rules": RULES})))]


@pytest.mark.parametrize("name", ["Chart.yaml", "values.yaml"])
def test_the_yaml_keeps_the_rules(name: str) -> None:
    assert found((rendering.CHART / name).read_text()) == []


def test_a_rule_that_is_broken_is_found() -> None:
    assert found("a:  1\n") == ["1:4: too many spaces after colon (colons)"]


def test_the_chart_says_what_it_has_to() -> None:
    about: dict[str, Any] = yaml.safe_load((rendering.CHART / "Chart.yaml").read_text())
    assert set(NEEDED) <= set(about) <= {*NEEDED, *OPTIONAL}
    assert {key for key, value in about.items() if not isinstance(value, {**NEEDED, **OPTIONAL}[key])} == set()
    assert [set(each) for each in about["maintainers"]] == [{"name"}]
    assert SEMVER.fullmatch(about["version"])


@pytest.mark.parametrize("variant", test_rendering.VARIANTS)
def test_helm_lint_finds_nothing(variant: str) -> None:
    """But that there is no icon, which it only mentions."""
    said = [(each["severity"], each["error"]) for each in rendering.linted(test_rendering.VARIANTS[variant])]
    assert said == [(1, "icon is recommended")]
