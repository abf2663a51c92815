"""The wheel is one file: the same bytes whoever builds it, with both programs and all shims."""

import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tomllib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
_MACHINES = {"x86_64": 62, "aarch64": 183}  # include/uapi/linux/elf-em.h
_NEEDLESS = shutil.ignore_patterns("[.]*", "__pycache__", "build", "dist", "tests", "docs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


def built(source: pathlib.Path, out: pathlib.Path, umask: int = 0o022) -> pathlib.Path:
    done = subprocess.run(
        [source / "hack/build-wheel", "--out", out], capture_output=True, text=True, check=False, umask=umask
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
    assert (program[:4], *struct.unpack_from("<H", program, 18)) == (b"\x7fELF", _MACHINES[target])


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
