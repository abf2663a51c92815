"""What a release pushes to a registry: a real one, on this machine, with steps of the workflow as they are.

Signing needs GitHub's identity and helm is no package of Debian: programs that note what they are told stand for both.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests import artefacts
from tests.hack import test_containerfile, test_workflows
from tests.kernel import namespaces

pytestmark = pytest.mark.root
ROOT = artefacts.PROJECT
VERSION = artefacts.VERSION


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of Debian's docker-registry, which keeps nothing beyond the tests."""
    folder = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "http": {"addr": address, "secret": "none"},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("no docker-registry; hack/packages docker-registry installs it")
    with subprocess.Popen([program, "serve", folder / "config.yml"]) as serving:
        try:
            assert namespaces.until(lambda: _answers(address), 20)
            yield address
        finally:
            serving.terminate()


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, registry: str) -> dict[str, str]:
    """A runner's: a registry that needs no certificate, and storage of its own."""
    home = tmp_path_factory.mktemp("home")
    storage = {"driver": "vfs", "runroot": f"{home}/run", "graphroot": f"{home}/storage"}
    (home / "storage.conf").write_text("".join(["[storage]\n", *(f'{key} = "{it}"\n' for key, it in storage.items())]))
    (home / ".config/containers").mkdir(parents=True)
    insecure = f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
    (home / ".config/containers/registries.conf").write_text(insecure)
    for name, text in (("helm", _HELM), ("cosign", 'printf "%s " "$@" >>$HOME/signed; echo >>$HOME/signed')):
        test_workflows.program(home / "bin" / name, text)
    return {
        "BUILDAH_ISOLATION": "chroot",
        "CONTAINERS_STORAGE_CONF": f"{home}/storage.conf",
        "GITHUB_OUTPUT": f"{home}/output",
        "GITHUB_REF_NAME": f"v{VERSION}",
        "HOME": str(home),
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "REGISTRY": f"{registry}/fleet",
        "REGISTRY_USER": "somebody",
        "REGISTRY_PASSWORD": "something",
    }


_HELM = f"""
printf '%s ' "$@" >>$HOME/helm; echo >>$HOME/helm
case "$1" in
package) mkdir -p chart; cp deploy/chart/sriov-underlay/values.yaml $HOME/; touch chart/sriov-underlay-{VERSION}.tgz ;;
push) skopeo copy --quiet oci:image docker://${{5#oci://}}/sriov-underlay:{VERSION} ;;
esac"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> dict[str, str]:
    """Run the steps in their order; outputs by their names."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "deploy/chart", folder / "deploy/chart")
    (folder / "hack").mkdir()
    shutil.copy(ROOT / "hack/build-index", folder / "hack")
    for machine in ("amd64", "arm64"):
        archive(folder, machine, environment)
        targets(folder, machine, environment)
    outputs: dict[str, str] = {}
    names = [
        getattr(test_workflows, name)
        for name in ("INDEX", "INDEXES", "LOGIN", "PUSH", "PUSHES", "CHART", "SIGN", "SIGNS")
    ]
    for name in names:
        # Debian 12's skopeo logs in without a look into registries.conf.
        step = test_workflows.steps()[name].replace("skopeo login", "skopeo login --tls-verify=false")
        given = {"IMAGE": outputs.get("index", ""), "CHART": outputs.get("digest", "")}
        done = test_workflows.run(step, folder, **environment, **given)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        lines = pathlib.Path(environment["GITHUB_OUTPUT"]).read_text().splitlines()
        outputs |= dict(line.split("=", 1) for line in lines)
    return outputs


def archive(folder: pathlib.Path, machine: str, environment: dict[str, str], content: str = "one") -> pathlib.Path:
    """Return an image of one file for that architecture, as `hack/build-image --archive` keeps one."""
    context = folder / f"context-{machine}"
    context.mkdir(exist_ok=True)
    (context / "file").write_text(content)
    (context / "Containerfile").write_text("FROM scratch\nCOPY file /\n")
    made = folder / f"images/image-{machine}-{content}.tar"
    made.parent.mkdir(exist_ok=True)
    build = ["buildah", "build", "--quiet", "--arch", machine, "--tag", f"localhost/{machine}", str(context)]
    for command in (build, ["buildah", "push", "--quiet", f"localhost/{machine}", f"oci-archive:{made}"]):
        artefacts.output(shutil.which("buildah") or "buildah", *command[1:], environment=environment)
    return made


def targets(folder: pathlib.Path, machine: str, environment: dict[str, str]) -> None:
    """The images for sriov-network-operator, which differ in their entry points alone."""
    (folder / "operator").mkdir(exist_ok=True)
    buildah = shutil.which("buildah") or "buildah"
    container = artefacts.output(buildah, "from", f"localhost/{machine}", environment=environment).strip()
    for name in test_containerfile.TARGETS:
        made = f"oci-archive:{folder}/operator/{name}-{machine}.tar"
        artefacts.output(buildah, "config", "--entrypoint", f'["{name}"]', container, environment=environment)
        artefacts.output(buildah, "commit", "--quiet", container, made, environment=environment)


def inspected(environment: dict[str, str], name: str, *options: str) -> Any:
    command = ["skopeo", "inspect", "--raw", *options, f"docker://{environment['REGISTRY']}/{name}"]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def test_the_registry_has_one_image_for_both_architectures(
    published: dict[str, str], environment: dict[str, str]
) -> None:
    """By the digests that were known before, which are signed."""
    index = inspected(environment, f"sriov-underlay@{published['index']}")
    assert index == inspected(environment, f"sriov-underlay:{VERSION}")
    found = {each["platform"]["architecture"]: each["digest"] for each in index["manifests"]}
    assert found == {name: published[name] for name in ("amd64", "arm64")}
    assert inspected(environment, f"sriov-underlay@{found['arm64']}")["layers"]


@pytest.mark.parametrize("target", test_containerfile.TARGETS)
def test_the_registry_has_each_target_for_both_architectures(
    published: dict[str, str], environment: dict[str, str], target: str
) -> None:
    index = inspected(environment, f"sriov-underlay-{target}@{published[target]}")
    assert index == inspected(environment, f"sriov-underlay-{target}:{VERSION}")
    assert {each["platform"]["architecture"] for each in index["manifests"]} == {"amd64", "arm64"}
    for each in index["manifests"]:
        about = inspected(environment, f"sriov-underlay-{target}@{each['digest']}", "--config")
        assert about["config"]["Entrypoint"] == [target]


def test_the_chart_that_is_pushed_installs_that_image(published: dict[str, str], environment: dict[str, str]) -> None:
    home = pathlib.Path(environment["HOME"])
    image = yaml.safe_load((home / "values.yaml").read_text())["image"]
    assert (image["repository"], image["digest"]) == (f"{environment['REGISTRY']}/sriov-underlay", published["index"])
    push = f"push --registry-config {home}/.docker/config.json chart/sriov-underlay-{VERSION}.tgz"
    assert (home / "helm").read_text().splitlines() == [
        "package deploy/chart/sriov-underlay --destination chart ",
        f"{push} oci://{environment['REGISTRY']}/charts ",
    ]
    assert inspected(environment, f"charts/sriov-underlay@{published['digest']}")


def test_image_and_chart_are_signed_by_their_digests(published: dict[str, str], environment: dict[str, str]) -> None:
    assert (pathlib.Path(environment["HOME"]) / "signed").read_text().splitlines() == [
        f"sign --yes --recursive {environment['REGISTRY']}/sriov-underlay@{published['index']} ",
        f"sign --yes {environment['REGISTRY']}/charts/sriov-underlay@{published['digest']} ",
        *(
            f"sign --yes --recursive {environment['REGISTRY']}/sriov-underlay-{target}@{published[target]} "
            for target in test_containerfile.TARGETS
        ),
    ]


def test_helm_cosign_and_skopeo_find_one_login(published: dict[str, str], environment: dict[str, str]) -> None:
    assert published
    logins = json.loads((pathlib.Path(environment["HOME"]) / ".docker/config.json").read_text())["auths"]
    assert list(logins) == [environment["REGISTRY"].partition("/")[0]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["out"], "usage: hack/build-index DIR ARCHIVE..."),
        (["/usr", "a.tar"], "/usr is there; name a new folder"),
        (["out", "a.tar"], "a.tar: no such file; hack/build-image --archive makes one"),
    ],
)
def test_what_it_cannot_use_is_named(arguments: list[str], says: str, tmp_path: pathlib.Path) -> None:
    command = [str(ROOT / "hack/build-index"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"build-index: {says}\n")


def test_two_images_of_one_architecture_are_none_of_two(tmp_path: pathlib.Path, environment: dict[str, str]) -> None:
    archives = [archive(tmp_path, "amd64", environment, content) for content in ("one", "two")]
    command: list[str | pathlib.Path] = [ROOT / "hack/build-index", tmp_path / "out", *archives]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    said = "build-index: two of the archives have one architecture; give one of each\n"
    assert (done.returncode, done.stderr) == (1, said)
