"""The image's recipe keeps its promises: what it starts from is fixed, and the result is hack/build-rootfs' own."""

import json
import pathlib
import re
import shlex
import tomllib

import pytest

from sriovctl.traffic import tools
from tests.examples import table
from tests.lab.image import manifests

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / "deploy/image/Containerfile").read_text()


def instructions() -> list[list[str]]:
    """Each as its words, comments left out and continued lines joined."""
    lines = re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def every_stage() -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for words in instructions():
        if words[0] == "FROM":
            found.append([])
        found[-1].append(words)
    return found


def stages() -> list[list[list[str]]]:
    """Those that make the image; the last one is what is built without a target."""
    build, *_, image = every_stage()
    return [build, image]


INSTALL = ["sriov-underlay", "install", "--shim-only", "--replace-incumbent", "--cni-bin-dir=/host/opt/cni/bin"]
TARGETS = {
    "device-plugin": ["sriov-device-plugin", "--wait-for-config"],
    "cni": INSTALL,
    "ib-cni": [*INSTALL, "--plugin=ib-sriov"],
}


def test_there_are_these_targets_and_no_others() -> None:
    assert [each[0] for each in every_stage()[1:-1]] == [["FROM", "scratch", "AS", name] for name in TARGETS]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_the_image_with_an_entry_point(target: str) -> None:
    """Which takes the arguments that sriov-network-operator gives: it names no command."""
    [_, image] = stages()
    [stage] = [each for each in every_stage() if each[0][-1] == target]
    assert stage[1:-1] == image[1:-1]
    [line] = re.findall(rf"^FROM scratch AS {target}\n(?:.+\n)+?ENTRYPOINT (.+)\n", TEXT, re.MULTILINE)
    assert json.loads(line) == TARGETS[target]


def test_what_it_starts_from_is_a_digest_or_nothing() -> None:
    build, image = stages()
    assert re.fullmatch(r"docker\.io/library/debian@sha256:[0-9a-f]{64}", build[0][1])
    assert image[0] == ["FROM", "scratch"]


def test_how_its_digest_is_renewed_stands_above_it() -> None:
    """The index's and not one architecture's: what `--raw` prints is the index itself."""
    comment = TEXT.partition("FROM docker.io/")[0].rpartition("\n\n")[2]
    assert "#   skopeo inspect --raw docker://docker.io/library/debian:bookworm-slim | sha256sum\n" in comment


def test_nothing_runs_in_the_image_and_all_of_it_is_the_root_file_system() -> None:
    """So there is no compiler and no package manager in it, as tests of that folder show."""
    [_, image] = stages()
    assert [words[0] for words in image] == ["FROM", "COPY", "LABEL", "ENV", "USER", "CMD"]
    assert image[1] == ["COPY", "--from=build", "/image", "/"]


def test_the_first_stage_installs_what_the_recipe_needs_and_runs_it() -> None:
    [build, _] = stages()
    runs = [" ".join(words[1:]) for words in build if words[0] == "RUN"]
    assert runs[-1] == "/source/hack/build-rootfs /image"
    assert len(runs) == 2
    installed = runs[0].split("--no-install-recommends ")[1].split()
    assert installed == ["ca-certificates", "python3", "python3-venv"]
    assert not [word for word in ("curl", "wget", "http", "pip ", "ADD") if word in TEXT]


def test_it_copies_every_package_of_the_wheel_and_what_the_recipe_reads() -> None:
    [build, _] = stages()
    copied = {word for words in build if words[0] == "COPY" for word in words[1:-1]}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    read = {"pyproject.toml", "README.md", "LICENSE", "requirements.lock", "hack", "deploy/image"}
    folders = {path.parent.name for pattern in wanted for path in ROOT.glob(f"{pattern}/__init__.py")}
    links = [path for name in folders for path in (ROOT / name).rglob("*") if path.is_symlink()]
    assert copied == read | folders | {str(path.resolve().relative_to(ROOT)) for path in links}
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_what_is_the_same_for_every_build_is_labelled_there_as_in_the_project() -> None:
    """Annotations of the image-spec; hack/build-image adds the others."""
    [_, image] = stages()
    [labels] = [words[1:] for words in image if words[0] == "LABEL"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    keys = {"title": project["name"], "description": project["description"], "licenses": project["license"]}
    assert labels == [f"org.opencontainers.image.{key}={value}" for key, value in keys.items()]


def test_the_lab_looks_for_programs_where_the_image_does() -> None:
    [_, image] = stages()
    assert ["ENV", f"PATH={manifests.PATH}"] in image


def test_the_image_that_measures_traffic_has_the_tools_on_the_same_base() -> None:
    """And docs/sriovctl.md builds it. There is no registry to have the base of, so the command is only looked at."""
    [example] = table.run_by(__file__, "test_the_image_that_measures_traffic_has_the_tools_on_the_same_base")
    words = example.command.split()
    text = (ROOT / words[words.index("-f") + 1]).read_text()
    assert (words[:2], (ROOT / words[-1]).is_dir()) == (["podman", "build"], True)
    found = dict(line.split(" ", 1) for line in re.sub(r" \\\n +", " ", text).splitlines() if line and line[0] != "#")
    assert found["FROM"] == stages()[0][0][1]
    assert found["RUN"].split("--no-install-recommends ")[1].split(" && ")[0].split() == list(tools.SERVERS)
    assert found["USER"] == "65534:65534"
