"""The house keeps its own rules: style, types, walls, locked dependencies. A linter that nobody runs is a wish."""

import ast
import pathlib
import re
import subprocess
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = ("sriov", "deviceplugin", "sriov_cni", "sriov_installer", "sriovctl")


@pytest.mark.parametrize("check", ["ruff", "format", "mypy", "imports"])
def test_linter(check: str) -> None:
    done = subprocess.run([ROOT / "hack/lint", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("lock", "extra"), [("requirements.lock", None), ("requirements-dev.lock", "dev")])
def test_every_dependency_is_locked_with_hashes(lock: str, extra: str | None) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    locked = dict(re.findall(r"^([\w.-]+)==\S+((?: \\\n    --hash=sha256:\w{64})+)", (ROOT / lock).read_text(), re.M))
    assert {re.match(r"[\w.-]+", each)[0] for each in wanted} <= set(locked)  # type: ignore[index]
    named = re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), re.M)
    assert set(named) == set(locked), "a package without hashes"


def test_both_locks_agree() -> None:
    runtime, dev = (
        set(re.findall(r"^[\w.-]+==[^ \\]+", (ROOT / name).read_text(), re.M))
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert runtime <= dev


def test_a_package_says_what_it_is_for_and_imports_nothing() -> None:
    """Imports there would undo the late imports of grpc, pyroute2 and prometheus_client."""
    found = [path for top in PROGRAMS for path in (ROOT / top).rglob("__init__.py") if path.parent.name != "_pb"]
    assert len(found) > 20
    for path in found:
        [only] = ast.parse(path.read_text()).body
        assert isinstance(only, ast.Expr), path
        assert isinstance(only.value, ast.Constant), path


def test_scripts_are_sound_shell() -> None:
    """`bash -n` finds what would only show on the path that a user takes."""
    scripts = [
        ROOT / "hack" / name
        for name in (
            "bench",
            "demo",
            "test",
            "lab",
            "venv",
            "packages",
            "gen-proto",
            "build-shim",
            "build-wheel",
            "build-rootfs",
            "build-sbom",
            "docs",
            "gen-docs",
            "locked",
            "structure",
            "lint",
        )
    ]
    for script in [*scripts, ROOT / ".ci/run"]:
        assert script.stat().st_mode & 0o111, script
        subprocess.run(["bash", "-n", script], check=True)
