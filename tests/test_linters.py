"""The house keeps its own rules: style, types, walls, locked dependencies. A linter that nobody runs is a wish."""

import ast
import collections
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = ("sriov", "deviceplugin", "sriov_agent", "sriov_cni", "sriov_dra", "sriov_installer", "sriovctl")


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


def _classes(source: str) -> list[str]:
    """The names of the public classes that a module defines at its top."""
    found = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return [node.name for node in found if not node.name.startswith("_")]


def test_no_two_public_classes_have_one_name() -> None:
    """Whoever reads a name in a log, a traceback or a search has to know which is meant."""
    places = collections.defaultdict(list)
    for path in (path for top in PROGRAMS for path in (ROOT / top).rglob("*.py") if path.parent.name != "_pb"):
        for name in _classes(path.read_text()):
            places[name].append(str(path.relative_to(ROOT)))
    assert len(places) > 100
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_a_public_class_is_seen() -> None:
    assert _classes("class A: ...\nclass _B: ...\nif True:\n    pass\nclass C(A): ...") == ["A", "C"]


FLAGS = {
    ("sriov/hardware/discovery.py", "--sysfs"): "every program that reads sysfs has it, as a test below shows",
    (
        "sriov/state/run_files.py",
        "--run-dir",
    ): "every program that uses the directory has it, as a test below shows",
    ("sriov/state/vf_defaults.py", "--apply"): "one command alone writes the file, whichever program reads it",
    ("sriov/versions.py", "--version"): "adds the flag to programs",
    ("sriov/daemon/http_address.py", "--http"): "adds the flag to programs",
    ("sriov/apiserver/flags.py", "--kubeconfig"): "adds the flag to programs",
    ("sriov/apiserver/flags.py", "--service-account-dir"): "adds the flag to programs",
    ("sriov/daemon/logs.py", "--log-format"): "adds the flag to programs",
    ("sriov/daemon/logs.py", "--log-level"): "adds the flag to programs",
    ("sriov/daemon/logs.py", "--log-level-file"): "adds the flag to programs",
}
"""Where the library names a flag, and why that is sound."""


def _flags_in(source: str) -> set[str]:
    """Flags in strings that a program may show, so not in docstrings."""
    tree = ast.parse(source)
    docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docs)
    texts = [node.value for node in strings if isinstance(node.value, str)]
    return {flag for text in texts for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", text)}


def test_the_library_names_no_programs_flags() -> None:
    """It raises what is wrong; the program whose flag it is adds that to the remedy."""
    found = {
        (str(path.relative_to(ROOT)), flag)
        for path in (ROOT / "sriov").rglob("*.py")
        for flag in _flags_in(path.read_text())
    }
    assert found == set(FLAGS)


def test_a_flag_in_a_string_is_seen() -> None:
    source = (
        '"""No --flag."""\nA = "give --one"\ndef f(x):\n    """--two"""\n    return f"{x}: --three-four; a--b --- -"'
    )
    assert _flags_in(source) == {"--one", "--three-four"}


@pytest.mark.parametrize("program", ["deviceplugin", "sriov_cni", "sriovctl"])
def test_flags_that_the_library_names_are_every_programs(program: str) -> None:
    shown = subprocess.run([sys.executable, "-m", program, "--help"], capture_output=True, text=True, check=True).stdout
    assert {"--sysfs", "--run-dir", "--version"} <= set(re.findall(r"--[a-z][\w-]*", shown))


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
