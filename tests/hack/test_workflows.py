"""Workflows for GitHub: they are sound, and what they run works, as far as that needs no runner."""

import os
import pathlib
import re
import subprocess
import sys
import tarfile

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
BIN = pathlib.Path(sys.executable).parent

PREPARE = "apt-get update -qq && apt-get install -qq --yes --no-install-recommends ca-certificates git python3"
TAGGED = "the tag is the version in pyproject.toml"
DRAFT = "a draft, which a person publishes"
EXECUTED = {
    "fast tests": "hack/test --fast",
    "every test, then the demo": ".ci/run",
    "python3 and git": PREPARE,
    "what the recipe needs": f"{PREPARE} python3-venv",
    "wheel, image and bill": "hack/build-release dist",
}
"""Steps that a test below runs, by their name; two more are compared with the files only."""


def steps() -> dict[str, str]:
    """What each step runs, by its name, which is the same in all workflows."""
    found: dict[str, str] = {}
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job["steps"]:
                if "run" in step:
                    assert found.setdefault(step["name"], step["run"]) == step["run"]
    return found


def run(command: str, folder: pathlib.Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it as a runner does: `bash -e` (docs.github.com, "Workflow syntax", jobs.<job_id>.steps[*].shell)."""
    return subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_they_have_the_form_that_github_reads() -> None:
    command: list[str | pathlib.Path] = [
        BIN / "check-jsonschema",
        "--builtin-schema=vendor.github-workflows",
        *WORKFLOWS,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_give_away_nothing_and_take_nothing_that_can_change() -> None:
    """Actions by commit, no credentials left behind, no text of others in a command."""
    command: list[str | pathlib.Path] = [BIN / "zizmor", "--offline", "--no-progress", "--color", "never", *WORKFLOWS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_step_is_run_by_a_test() -> None:
    assert steps().keys() == {*EXECUTED, TAGGED, DRAFT}
    assert {name: run for name, run in steps().items() if name in EXECUTED} == EXECUTED


def test_the_tag_has_to_be_the_version() -> None:
    [version] = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert run(steps()[TAGGED], ROOT, GITHUB_REF_NAME=f"v{version}").returncode == 0
    assert run(steps()[TAGGED], ROOT, GITHUB_REF_NAME="v9.9.9").returncode == 1


def test_the_draft_has_every_file_and_is_no_release_yet(tmp_path: pathlib.Path) -> None:
    program(tmp_path / "bin/gh", 'printf "%s\\n" "$@"')
    (tmp_path / "dist").mkdir()
    for name in ("a.whl", "SHA256SUMS"):
        (tmp_path / "dist" / name).touch()
    given = {"GITHUB_REF_NAME": "v1.2.3", "GITHUB_REPOSITORY": "o/r", "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    told = run(steps()[DRAFT], tmp_path, **given).stdout.splitlines()
    assert told[:3] == ["release", "create", "v1.2.3"]
    assert {"--draft", "--verify-tag", "dist/a.whl", "dist/SHA256SUMS"} <= {*told}


@pytest.mark.parametrize(("test", "demo"), [(0, 0), (1, 0), (0, 1)])
def test_every_test_and_then_the_demo_have_to_pass(tmp_path: pathlib.Path, test: int, demo: int) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/run").write_bytes((ROOT / ".ci/run").read_bytes())
    (tmp_path / ".ci/run").chmod(0o755)
    program(tmp_path / "hack/test", f'echo "test $CI $*" >>told\nexit {test}')
    program(tmp_path / "hack/demo", f'echo "demo $1" >>told\necho "{{}}" >"$2"\nexit {demo}')
    done = run(EXECUTED["every test, then the demo"], tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == (test or demo)
    told = (tmp_path / "told").read_text().splitlines()
    assert told == ["test true ", *(["demo --json"] if not test else [])]


@pytest.mark.root
def test_what_is_installed_first_is_there() -> None:
    for name in ("python3 and git", "what the recipe needs"):
        done = run(EXECUTED[name], ROOT, DEBIAN_FRONTEND="noninteractive")
        assert done.returncode == 0, done.stderr


@pytest.mark.root
def test_a_release_is_the_wheel_the_image_and_their_bill(tmp_path: pathlib.Path) -> None:
    command = EXECUTED["wheel, image and bill"].replace("dist", str(tmp_path / "dist"))
    done = run(command, ROOT)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "dist").iterdir())
    assert [re.sub(r"\d+\.[\d.]+|x86_64|aarch64", "*", name) for name in names] == [
        "SHA256SUMS",
        "rootfs-*.tar.gz",
        "sbom.cdx.json",
        "sriov_underlay-*-py3-none-any.whl",
    ]
    assert run("sha256sum --check --strict SHA256SUMS", tmp_path / "dist").returncode == 0
    with tarfile.open(next((tmp_path / "dist").glob("rootfs-*"))) as image:
        assert "./usr/local/bin/sriov-cni-daemon" in image.getnames()
    assert "not empty" in run(command, ROOT).stderr
