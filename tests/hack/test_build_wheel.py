"""The wheel is one file: the same bytes whoever builds it, with both programs and all shims."""

import email
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message

import pytest
from readme_renderer import markdown

ROOT = pathlib.Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
_MACHINES = {"x86_64": 62, "aarch64": 183}  # include/uapi/linux/elf-em.h
_PUBLISHED = "https://forge.example/somebody/sriov-underlay"
_NEEDLESS = shutil.ignore_patterns("[.]*", "__pycache__", "build", "dist", "tests", "docs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return built(ROOT, tmp_path_factory.mktemp("published"), PROJECT_URL=f"{_PUBLISHED}/")


def built(source: pathlib.Path, out: pathlib.Path, umask: int = 0o022, **environment: str) -> pathlib.Path:
    done = subprocess.run(
        [source / "hack/build-wheel", "--out", out],
        env={name: value for name, value in os.environ.items() if name != "PROJECT_URL"} | environment,
        capture_output=True,
        text=True,
        check=False,
        umask=umask,
    )
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


def test_another_checkout_on_another_day_gives_the_same_bytes(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(ROOT, elsewhere, ignore=_NEEDLESS, copy_function=shutil.copy)
    for path in elsewhere.rglob("*.py"):
        os.utime(path, (1, 1_700_000_000))
    again = built(elsewhere, tmp_path / "out", umask=0o077)
    assert again.name == wheel.name == f"sriov_underlay-{VERSION}-py3-none-any.whl"
    assert again.read_bytes() == wheel.read_bytes()


def test_a_changed_source_gives_others(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(ROOT, elsewhere, ignore=_NEEDLESS)
    with (elsewhere / "sriov/errors.py").open("a") as file:
        file.write("#\n")
    assert built(elsewhere, tmp_path / "out").read_bytes() != wheel.read_bytes()


def metadata(wheel: pathlib.Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_string(archive.read(name).decode())


def test_its_top_level_names_are_its_own(wheel: pathlib.Path) -> None:
    """Whatever else is installed beside it: PyPI has an `installer`, and could have any other word of everybody's."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {
        "deviceplugin",
        "sriov",
        "sriov_agent",
        "sriov_cni",
        "sriov_dra",
        "sriov_installer",
        "sriovctl",
    }


@pytest.mark.parametrize("name", ["wheel", "published"])
def test_what_an_index_shows_needs_no_file_of_the_repository(name: str, request: pytest.FixtureRequest) -> None:
    """Rendered by what PyPI renders it with."""
    found = metadata(request.getfixturevalue(name))
    assert found["Description-Content-Type"] == "text/markdown"
    page = markdown.render(str(found.get_payload()))
    assert page is not None
    assert re.search("<h1[^>]*>sriov-underlay<", page)
    assert "<table>" in page
    leads = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert [address for address in leads if not address.startswith(("https://", "#"))] == []
    assert "flowchart" not in page
    assert "](" not in page
    assert "concepts" in page.lower()


def test_links_and_addresses_lead_to_the_release_where_it_is_published(published: pathlib.Path) -> None:
    found = metadata(published)
    page = str(found.get_payload())
    assert f"]({_PUBLISHED}/blob/v{VERSION}/docs/concepts.md)" in page
    assert f"]({_PUBLISHED}/raw/v{VERSION}/docs/images/demo.svg)" in page
    addresses = dict(each.split(", ") for each in found.get_all("Project-URL", []))
    assert set(addresses) == {"Homepage", "Source", "Documentation", "Changelog", "Issues"}
    start = f"{_PUBLISHED}/blob/v{VERSION}/"
    pages = re.findall(rf"{re.escape(start)}([^),]+)", " ".join([page, *(f"{each})" for each in addresses.values())]))
    assert len(pages) > 8
    assert [name for name in pages if not (ROOT / name.partition("#")[0]).is_file()] == []


def test_nobody_is_sent_to_an_address_that_was_not_given(wheel: pathlib.Path) -> None:
    found = metadata(wheel)
    assert found.get_all("Project-URL") is None
    assert "![" not in str(found.get_payload())


@pytest.mark.parametrize(
    "url", ["http://forge.example/o/r", "forge.example/o/r", "https://forge.example", 'https://a.b/"']
)
def test_an_address_that_is_none_is_named(url: str, tmp_path: pathlib.Path) -> None:
    command = [str(ROOT / "hack/build-wheel"), "--out", str(tmp_path)]
    environment = os.environ | {"PROJECT_URL": url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"build-wheel: PROJECT_URL {url!r}: not the https address of a repository; set it to" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_type_checker_and_an_index_know_what_it_is(wheel: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    packages = {name.split("/")[0] for name in names if name.endswith("/__init__.py")}
    assert {f"{package}/py.typed" for package in packages} <= names
    assert "License-Expression: Apache-2.0\n" in metadata
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "Classifier: Typing :: Typed\n" in metadata


@pytest.mark.parametrize("target", ["x86_64", "aarch64"])
def test_the_native_shim_is_beside_the_python_one(wheel: pathlib.Path, target: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        program = archive.read(f"sriov_cni/shim/shim-{target}")
        assert archive.getinfo("sriov_cni/shim/shim.py")
        assert archive.getinfo(f"sriov_cni/shim/shim-{target}").external_attr >> 16 & 0o777 == 0o755
        hook = archive.read(f"sriov_dra/hook/hook-{target}")
    for each in (program, hook):
        assert (each[:4], *struct.unpack_from("<H", each, 18)) == (b"\x7fELF", _MACHINES[target])


def test_what_was_installed_knows_its_version(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    pip = [sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--no-index", "--target", str(tmp_path)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    for program in ("sriov-device-plugin", "sriov-cni-daemon"):
        command = [str(tmp_path / "bin" / program), "--version"]
        done = subprocess.run(
            command, cwd="/", env={"PYTHONPATH": str(tmp_path)}, check=True, capture_output=True, text=True
        )
        assert done.stdout + done.stderr == f"{program} (sriov-underlay) {VERSION}\n"


def test_the_wheel_is_built_with_the_setuptools_that_the_tests_have() -> None:
    """One place too many for a version, so the two are held together."""
    pinned = (ROOT / "hack/wheel.lock").read_text()
    assert pinned in (ROOT / "requirements-dev.lock").read_text()


@pytest.mark.parametrize(
    ("script", "arguments", "says"),
    [
        ("build-wheel", ["--out"], "--out needs a folder"),
        ("build-wheel", ["--fast"], "unknown argument --fast"),
        ("locked", ["nothing"], "there is no"),
    ],
)
def test_what_they_do_not_know_is_named(script: str, arguments: list[str], says: str) -> None:
    done = subprocess.run([ROOT / "hack" / script, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, says in done.stderr) == (1, "", True), done.stderr
