"""The image, really built of the Containerfile: what hack/build-rootfs makes, to the byte, and how it is started.

What is in such a folder is tested in test_build_rootfs.py, of both.
"""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import tomllib

import pytest
import yaml

from tests import artefacts, images
from tests.examples import table
from tests.hack import test_containerfile
from tests.lab.image import manifests

SCRIPT = artefacts.PROJECT / "hack/build-image"
DAEMONSET = yaml.safe_load((artefacts.PROJECT / "deploy/kustomize/daemonset.yaml").read_text())
POD = DAEMONSET["spec"]["template"]["spec"]
VERSIONS = "var/lib/dpkg/status.d"
_LABEL = "org.opencontainers.image."
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}  # Go's names, as OCI has them


@pytest.fixture(scope="module")
def image() -> images.Image:
    try:
        return images.image()
    except artefacts.BuildError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error).splitlines()[-1])


def entries(root: pathlib.Path) -> dict[str, tuple[int, int, int, float, bytes]]:
    """All that a file system has of each: kind and mode, owners, time, and what is in it or where it leads."""
    return {str(path.relative_to(root)): _entry(path) for path in root.rglob("*")}


def _entry(path: pathlib.Path) -> tuple[int, int, int, float, bytes]:
    found = path.lstat()
    content = b""
    if stat.S_ISREG(found.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(found.st_mode):
        content = os.fsencode(path.readlink())
    return found.st_mode, found.st_uid, found.st_gid, found.st_mtime, content


@pytest.mark.root
def test_its_files_are_those_that_hack_build_rootfs_makes(image: images.Image) -> None:
    """To the byte, and none of the machine's that built it. Debian may have put out newer packages than a folder that
    was kept has: then only what is below usr/local can be compared.
    """
    rootfs = artefacts.rootfs()
    part = "usr/local" if entries(rootfs / VERSIONS) != entries(image.root / VERSIONS) else ""
    built, made = entries(image.root / part), entries(rootfs / part)
    assert sorted(set(built) ^ set(made)) == []
    assert [path for path, entry in built.items() if entry != made[path]] == []
    assert "usr/local/bin/sriovctl" in built or "bin/sriovctl" in built


@pytest.mark.root
def test_its_user_is_the_pods_and_no_entrypoint_comes_before_a_command(image: images.Image) -> None:
    path = environment(image)["PATH"]
    for container in [*POD["initContainers"], *POD["containers"]]:
        [command] = container["command"]
        assert shutil.which(command, path=_below(image.root, path)), command
    assert image.config["config"].get("Entrypoint") is None
    user = "{runAsUser}:{runAsGroup}".format(**POD["securityContext"])
    assert (image.config["config"]["User"], image.config["os"]) == (user, "linux")
    assert image.config["architecture"] == _MACHINES[os.uname().machine]


@pytest.mark.root
def test_what_it_is_of_is_on_it_and_its_time_is_that_of_its_files(image: images.Image) -> None:
    """So that the image is the same, whenever it is built."""
    labels = {key.removeprefix(_LABEL): value for key, value in image.config["config"]["Labels"].items()}
    assert labels["title"] == "sriov-underlay"
    assert labels["version"] == artefacts.VERSION
    assert labels["licenses"] == "Apache-2.0"
    assert "source" not in labels, "nobody said where the repository is published"
    assert image.config["created"] == "1980-01-01T00:00:00Z"


@pytest.mark.root
def test_by_itself_it_names_every_program(image: images.Image) -> None:
    """But kubectl's plugins, which nobody starts there."""
    done = subprocess.run(
        ["/usr/sbin/chroot", image.root, *image.config["config"]["Cmd"]],
        env=environment(image),
        capture_output=True,
        text=True,
        check=True,
    )
    scripts = tomllib.loads((artefacts.PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert [name for name in scripts if name not in done.stdout and not name.startswith("kubectl")] == []


@pytest.mark.root
def test_by_itself_it_says_what_it_can(image: images.Image) -> None:
    command = ["/usr/sbin/chroot", image.root, *image.config["config"]["Cmd"]]
    done = subprocess.run(command, env=environment(image), capture_output=True, text=True, check=False)
    assert (done.returncode, "install" in done.stdout) == (0, True), done.stderr


def environment(image: images.Image) -> dict[str, str]:
    return dict(each.split("=", 1) for each in image.config["config"]["Env"])


def _below(root: pathlib.Path, path: str) -> str:
    return os.pathsep.join(f"{root}{folder}" for folder in path.split(os.pathsep))


def asked(*arguments: str, path: str) -> tuple[int, str]:
    done = subprocess.run([SCRIPT, *arguments], env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture
def programs(tmp_path: pathlib.Path) -> pathlib.Path:
    """A machine that has a shell and no builder of images."""
    for program in ("bash", "dirname", "sed"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    return tmp_path


def test_without_a_builder_it_says_which_it_takes(programs: pathlib.Path) -> None:
    said = "build-image: neither podman nor buildah is here; install one (Debian: apt-get install buildah)\n"
    assert asked(path=str(programs)) == (1, said)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fast"], "unknown argument --fast; usage: hack/build-image [--with podman|buildah]"),
        (["--tag"], "--tag needs a value"),
        (["--target"], "--target needs a value"),
        (["--with", "kaniko"], "--with kaniko: podman or buildah"),
        (["--with", "podman"], "--with podman: it is not on this machine; install it (Debian: apt-get install podman)"),
    ],
)
def test_what_it_cannot_use_is_named(programs: pathlib.Path, arguments: list[str], says: str) -> None:
    status, said = asked(*arguments, path=str(programs))
    assert (status, said.startswith(f"build-image: {says}")) == (1, True), said


def test_a_build_that_fails_is_told_by_its_end(programs: pathlib.Path) -> None:
    (programs / "buildah").write_text('#!/bin/sh\necho "$@" >&2\nexit 3\n')
    (programs / "buildah").chmod(0o755)
    status, said = asked("--", "--pull=never", path=str(programs))
    assert status == 1
    assert f"--tag localhost/sriov-underlay:{artefacts.VERSION} --ulimit nofile=" in said
    assert f"--pull=never {artefacts.PROJECT}\n" in said
    assert said.endswith("build-image: buildah build ended with status 3; its last lines say why\n")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("cni", f"--target cni --label {_LABEL}version={artefacts.VERSION}"),
        ("operator", "build-image: --target operator: there is no such target; name one of device-plugin cni ib-cni\n"),
    ],
)
def test_a_target_is_built_under_its_name_or_refused(programs: pathlib.Path, target: str, says: str) -> None:
    (programs / "buildah").write_text('#!/bin/sh\necho "$@" >&2\nexit 3\n')
    (programs / "buildah").chmod(0o755)
    status, said = asked("--target", target, path=str(programs))
    assert status == 1
    assert says in said
    assert (f"--tag localhost/sriov-underlay-{target}:{artefacts.VERSION} " in said) is (target == "cni")


@pytest.mark.root
def test_each_target_is_really_built_and_starts_what_it_is_for(tmp_path: pathlib.Path) -> None:
    """By buildah, of the Containerfile as it is; a folder of one file stands for what its first stage makes."""
    (tmp_path / "made/image/usr").mkdir(parents=True)
    (tmp_path / "made/image/usr/file").write_text("one")
    storage = {"driver": "vfs", "runroot": f"{tmp_path}/run", "graphroot": f"{tmp_path}/storage"}
    (tmp_path / "storage.conf").write_text(
        "".join(["[storage]\n", *(f'{key} = "{it}"\n' for key, it in storage.items())])
    )
    environment = os.environ | {"CONTAINERS_STORAGE_CONF": f"{tmp_path}/storage.conf", "BUILDAH_ISOLATION": "chroot"}
    for target, entry in test_containerfile.TARGETS.items():
        archive = tmp_path / f"{target}.tar"
        options = ("--with", "buildah", "--target", target, "--archive", str(archive))
        instead = f"--build-context=build={tmp_path}/made"
        name = artefacts.output("hack/build-image", *options, "--", instead, environment=environment)
        assert name == f"localhost/sriov-underlay-{target}:{artefacts.VERSION}"
        inspect = ["skopeo", "inspect", "--config", f"oci-archive:{archive}"]
        config = json.loads(subprocess.run(inspect, check=True, capture_output=True).stdout)["config"]
        assert (config["Entrypoint"], config.get("Cmd")) == (entry, None)
        assert (config["User"], config["Env"]) == ("0:0", [f"PATH={manifests.PATH}"])
        assert config["Labels"][f"{_LABEL}version"] == artefacts.VERSION


def test_the_operators_images_are_built_as_the_page_says(programs: pathlib.Path) -> None:
    """By a builder that says what it is told; what it makes of a stage is test_containerfile's."""
    (programs / "buildah").write_text('#!/bin/sh\necho "$@" >&2\n')
    (programs / "buildah").chmod(0o755)
    examples = table.run_by(__file__, "test_the_operators_images_are_built_as_the_page_says")
    targets = []
    for example in examples:
        words = example.command.split()
        done = subprocess.run(
            [artefacts.PROJECT / words[0], *words[1:]],
            env={"PATH": str(programs)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{words[-1]}\n"
        assert f"--tag {words[-1]} " in done.stderr
        targets.append(done.stderr.partition("--target ")[2].partition(" ")[0])
    assert targets == ["", "device-plugin", "cni", "ib-cni"]


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """A clean one, with a builder that prints what it is told."""
    folder = tmp_path / "checkout"
    (folder / "hack").mkdir(parents=True)
    shutil.copy(SCRIPT, folder / "hack")
    shutil.copy(artefacts.PROJECT / "pyproject.toml", folder)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a", "--date", "@1700000000 +0000"]):
        when = os.environ | {"GIT_COMMITTER_DATE": "@1700000000 +0000"}
        subprocess.run([*git, *command], check=True, env=when)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/buildah").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >&2\n')
    (tmp_path / "bin/buildah").chmod(0o755)
    return folder


def told(checkout: pathlib.Path, **environment: str) -> list[str]:
    path = f"{checkout.parent}/bin:{os.environ['PATH']}"
    done = subprocess.run(
        [checkout / "hack/build-image", "--with", "buildah"],
        env={"PATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.removeprefix(_LABEL) for line in done.stderr.splitlines()]


def test_labels_name_the_commit_and_its_time(checkout: pathlib.Path) -> None:
    git = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    revision = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    assert {f"revision={revision}", "created=2023-11-14T22:13:20Z"} <= {*told(checkout)}
    assert "created=1970-01-02T00:00:00Z" in told(checkout, SOURCE_DATE_EPOCH="86400")


def test_a_changed_checkout_is_no_commit(checkout: pathlib.Path) -> None:
    (checkout / "more").touch()
    said = told(checkout)
    assert f"version={artefacts.VERSION}" in said
    assert [line for line in said if line.startswith(("revision=", "created="))] == []


def test_where_it_is_published_is_labelled_and_the_wheels_metadata_have_it(checkout: pathlib.Path) -> None:
    said = told(checkout, PROJECT_URL="https://forge.example/o/r")
    assert {"source=https://forge.example/o/r", "PROJECT_URL=https://forge.example/o/r"} <= {*said}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PROJECT_URL", "forge.example/o/r", "not the https address of a repository; set it to one, or leave it out"),
        ("SOURCE_DATE_EPOCH", "now", "not a number of seconds since 1970; set it to one, or leave it out"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(checkout: pathlib.Path, name: str, value: str, says: str) -> None:
    assert told(checkout, **{name: value}) == [f"build-image: {name} {value}: {says}"]
