"""The files that GitHub and pre-commit read: they name what there is, and check what the tests check."""

import pathlib
import re
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
GITHUB = ROOT / ".github"


def read(path: pathlib.Path) -> dict[str, object]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict), path
    return found


def test_the_checks_before_a_commit_are_those_of_hack_lint() -> None:
    [repo] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"].split() for hook in repo["hooks"]]
    assert [command for command, _ in entries] == ["hack/lint"] * len(entries)
    known = re.findall(r"^    (\w+)\)", (ROOT / "hack/lint").read_text(), re.M)
    assert [name for _, name in entries] == [name for name in known if name != "fix"]
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in repo["hooks"])


def test_an_unknown_check_is_named() -> None:
    done = subprocess.run([ROOT / "hack/lint", "style"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "lint: style is none of ruff, format, mypy, imports, fix\n")


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_a_form_for_issues_has_what_github_wants(name: str) -> None:
    form = read(GITHUB / f"ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= form.keys()
    assert isinstance(form["body"], list)
    identifiers = [field["id"] for field in form["body"]]
    assert len({*identifiers}) == len(identifiers)
    assert all(field["attributes"]["label"] for field in form["body"])


def test_owners_and_updates_are_of_folders_that_there_are() -> None:
    lines = [line for line in (GITHUB / "CODEOWNERS").read_text().splitlines() if not line.startswith("#")]
    owned = [line.split()[0] for line in lines]
    assert owned[0] == "*"
    assert [path for path in owned[1:] if not (ROOT / path.strip("/")).exists()] == []
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
    assert [each["directory"] for each in updates if not (ROOT / each["directory"].strip("/")).is_dir()] == []
