"""Workflows for GitHub: they are sound, and what they run works, as far as that needs no runner."""

import os
import pathlib
import re
import subprocess
import sys
import tarfile
from typing import Any

import pytest
import yaml

from tests.hack import test_containerfile

ROOT = pathlib.Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
BIN = pathlib.Path(sys.executable).parent

PREPARE = "apt-get update -qq && apt-get install -qq --yes --no-install-recommends ca-certificates git python3"
TAGGED = "the tag is the version in pyproject.toml"
DRAFT = "a draft, which a person publishes"
IMAGE = "the image of this architecture, which is what the bill says"
TARGETS = "its targets, which sriov-network-operator starts"
INDEX = "one image of both architectures"
INDEXES = "one of both of each target"
LOGIN = "log in to the registry"
PUSH = "push the image"
PUSHES = "push the targets"
CHART = "push the chart, whose values name that image"
SIGN = "sign image and chart"
SIGNS = "sign the targets"
NOTICE = "no registry, so nothing is pushed"
FOLDER = "one folder, of one wheel that both architectures built"
HASHES = "sign the hashes"
EXECUTED = {
    "fast tests": "hack/test --fast",
    "every test, then the demo": ".ci/run",
    "python3 and git": PREPARE,
    "what the recipe needs": f"{PREPARE} python3-venv buildah",
    "wheel, image and bill": "hack/build-release dist",
}
"""Steps that a test below runs as they are, by their name; others are run here and in test_publishing.py, with programs
in place of those that need a runner or an account."""


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
    others = {
        TAGGED,
        DRAFT,
        IMAGE,
        TARGETS,
        INDEX,
        INDEXES,
        LOGIN,
        PUSH,
        PUSHES,
        CHART,
        SIGN,
        SIGNS,
        NOTICE,
        FOLDER,
        HASHES,
    }
    assert steps().keys() == EXECUTED.keys() | others
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
        "sbom-*.cdx.json",
        "sriov_underlay-*-py3-none-any.whl",
    ]
    assert run("sha256sum --check --strict SHA256SUMS", tmp_path / "dist").returncode == 0
    with tarfile.open(next((tmp_path / "dist").glob("rootfs-*"))) as image:
        assert "./usr/local/bin/sriov-cni-daemon" in image.getnames()
    assert "not empty" in run(command, ROOT).stderr


def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())["jobs"]
    return found


def test_both_architectures_are_built_on_machines_of_their_own() -> None:
    """From the base that the image is built from, by its digest."""
    containerfile = (ROOT / "deploy/image/Containerfile").read_text()
    for name in ("ci", "release"):
        each = yaml.safe_load((ROOT / f".github/workflows/{name}.yaml").read_text())["jobs"]
        job = each["build" if name == "release" else "artefacts"]
        assert job["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
        assert job["runs-on"] == "${{ matrix.runner }}"
        assert f"FROM docker.io/library/{job['container']['image']} AS build\n" in containerfile


def test_without_a_registry_nothing_is_pushed_and_the_release_says_so() -> None:
    assert jobs()["publish"]["if"] == "vars.REGISTRY != ''"
    assert jobs()["unpublished"]["if"] == "vars.REGISTRY == ''"
    assert jobs()["release"]["if"] == "${{ !failure() && !cancelled() }}"
    said = run(steps()[NOTICE], ROOT).stdout
    assert said.startswith(
        "::notice::image and chart are not pushed: the variable REGISTRY of this repository is empty"
    )


def test_only_jobs_that_build_nothing_may_sign_or_write() -> None:
    """What was built is handed to them as files."""
    assert "permissions" not in jobs()["build"]
    assert {name for name, job in jobs().items() if job.get("permissions", {}).get("id-token")} == {
        "publish",
        "release",
    }
    writing = {name for name, job in jobs().items() if job.get("permissions", {}).get("contents") == "write"}
    assert writing == {"release"}
    assert all("hack/build-release" not in str(jobs()[name]) for name in ("publish", "release"))


def test_everything_that_is_released_is_attested_by_its_digest_and_the_images_with_their_bills() -> None:
    attested = {name: [each["with"] for each in jobs()[name]["steps"] if _attests(each)] for name in jobs()}
    of_image = {each["subject-digest"]: each.get("sbom-path") for each in attested["publish"]}
    assert of_image == {
        "${{ steps.image.outputs.index }}": None,
        "${{ steps.image.outputs.amd64 }}": "built/release-X64/sbom-x86_64.cdx.json",
        "${{ steps.image.outputs.arm64 }}": "built/release-ARM64/sbom-aarch64.cdx.json",
        **{f"${{{{ steps.operator.outputs.{target} }}}}": None for target in test_containerfile.TARGETS},
        "${{ steps.chart.outputs.digest }}": None,
    }
    assert all(each["push-to-registry"] is True for each in attested["publish"])
    assert {each["subject-path"]: each.get("sbom-path") for each in attested["release"]} == {
        "dist/*": None,
        "dist/rootfs-x86_64.tar.gz": "dist/sbom-x86_64.cdx.json",
        "dist/rootfs-aarch64.tar.gz": "dist/sbom-aarch64.cdx.json",
    }


def _attests(step: dict[str, Any]) -> bool:
    return str(step.get("uses", "")).startswith("actions/attest@")


def test_a_token_of_github_goes_to_no_other_registry() -> None:
    [login] = [each for each in jobs()["publish"]["steps"] if each.get("name") == LOGIN]
    given = login["env"]["REGISTRY_PASSWORD"]
    assert given == "${{ startsWith(vars.REGISTRY, 'ghcr.io/') && github.token || secrets.REGISTRY_PASSWORD }}"


@pytest.mark.parametrize("same", [True, False])
def test_an_image_of_something_else_than_the_bill_is_not_released(tmp_path: pathlib.Path, same: bool) -> None:
    program(tmp_path / "hack/build-image", 'printf "%s\\n" "$@" >told\necho localhost/built:1')
    program(
        tmp_path / "bin/buildah",
        f'[ "$1 $2" != "from localhost/built:1" ] || echo c1\n[ "$1 $2" != "mount c1" ] || echo {tmp_path}/image',
    )
    bill = tmp_path / "image/usr/share/sriov-underlay/sbom.cdx.json"
    bill.parent.mkdir(parents=True)
    bill.write_text("a bill")
    (tmp_path / "dist").mkdir()
    (tmp_path / f"dist/sbom-{os.uname().machine}.cdx.json").write_text("a bill" if same else "another")
    done = run(steps()[IMAGE], tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode == (0 if same else 1), done.stderr
    told = (tmp_path / "told").read_text().split()
    assert told == ["--with", "buildah", "--archive", f"image-{os.uname().machine}.tar"]


def test_each_target_is_built_of_the_layers_that_are_there(tmp_path: pathlib.Path) -> None:
    program(tmp_path / "hack/build-image", 'echo "$@"')
    done = run(steps()[TARGETS], tmp_path)
    [image, again] = [each["env"] for each in jobs()["build"]["steps"] if each.get("name") in (IMAGE, TARGETS)]
    assert image == again
    assert image["BUILDAH_LAYERS"] == "true"
    assert (tmp_path / "operator").is_dir()
    assert done.stdout.splitlines() == [
        f"--with buildah --target {each} --archive operator/{each}-{os.uname().machine}.tar"
        for each in test_containerfile.TARGETS
    ]


@pytest.mark.parametrize("fault", [None, "wheel", "hashes"])
def test_what_two_machines_built_is_one_release(tmp_path: pathlib.Path, fault: str | None) -> None:
    for machine, runner in (("x86_64", "X64"), ("aarch64", "ARM64")):
        folder = tmp_path / f"built/release-{runner}"
        folder.mkdir(parents=True)
        (folder / "a.whl").write_text(machine if fault == "wheel" else "one")
        (folder / f"rootfs-{machine}.tar.gz").touch()
        assert run("sha256sum -- * >../sums && mv ../sums SHA256SUMS", folder).returncode == 0
    if fault == "hashes":
        (tmp_path / "built/release-X64/rootfs-x86_64.tar.gz").write_text("changed")
    done = run(steps()[FOLDER], tmp_path)
    assert (done.returncode == 0) is (fault is None), done.stderr
    if fault is None:
        names = sorted(path.name for path in (tmp_path / "dist").iterdir())
        assert names == ["SHA256SUMS", "a.whl", "rootfs-aarch64.tar.gz", "rootfs-x86_64.tar.gz"]
        assert run("sha256sum --check --strict SHA256SUMS", tmp_path / "dist").returncode == 0


def test_the_hashes_are_signed_and_the_signature_is_beside_them(tmp_path: pathlib.Path) -> None:
    program(tmp_path / "bin/cosign", 'printf "%s\\n" "$@"')
    told = run(steps()[HASHES], tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}").stdout.split()
    assert told == ["sign-blob", "--yes", "--bundle", "dist/SHA256SUMS.sigstore.json", "dist/SHA256SUMS"]


def test_the_page_has_every_setting_of_the_repository() -> None:
    text = (ROOT / ".github/workflows/release.yaml").read_text()
    used = {f"{kind} {name}" for kind, name in re.findall(r"\b(vars|secrets)\.([A-Z_]+)", text)}
    page = re.findall(r"^\| (variable|secret) `([A-Z_]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert {f"{ {'variable': 'vars', 'secret': 'secrets'}[kind] } {name}" for kind, name in page} == used
