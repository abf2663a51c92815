"""The image's root file system: our programs start in it, and nothing there can build, install or be a shell.

As hack/build-rootfs makes it, and as it is in the image that was built of the Containerfile.
"""

import importlib.metadata
import os
import pathlib
import re
import stat
import subprocess
import tomllib

import pytest

from tests import artefacts, images

ROOT = artefacts.PROJECT
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PROGRAMS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
SITE = "usr/local/lib/python3.11/dist-packages"
_LOADER = next(iter(pathlib.Path("/lib64").glob("ld-linux-*")), pathlib.Path("/lib/ld-linux-aarch64.so.1"))

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", params=["folder", "image"])
def rootfs(request: pytest.FixtureRequest) -> pathlib.Path:
    try:
        return artefacts.rootfs() if request.param == "folder" else images.image().root
    except artefacts.BuildError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error).splitlines()[-1])


def inside(rootfs: pathlib.Path, *command: str) -> str:
    """What a command prints there, with this machine's /dev as any container has one."""
    enter = 'mount --bind /dev "$0/dev" && exec chroot "$0" "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", enter, rootfs, *command], env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def files(rootfs: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in rootfs.rglob("*") if not path.is_symlink()]


def test_what_can_be_executed_is_python_ldconfig_and_ours(rootfs: pathlib.Path) -> None:
    """So no shell, no compiler, no package manager, whatever its name is."""
    found = {str(path.relative_to(rootfs)) for path in files(rootfs) if path.is_file() and os.access(path, os.X_OK)}
    libraries = {name for name in found if re.search(r"\.so(\.[\d.]+)?$", name)}
    shims = {f"{SITE}/sriov_cni/shim/shim-{target}" for target in ("x86_64", "aarch64")}
    ours = {f"usr/local/bin/{program}" for program in (*PROGRAMS, "sriov-idle")}
    assert found - libraries == {"usr/bin/python3.11", "usr/sbin/ldconfig", *ours, *shims}
    folders = ["bin", "sbin", "lib", "lib64"]
    assert [str((rootfs / folder).readlink()) for folder in folders] == [f"usr/{folder}" for folder in folders]


@pytest.mark.parametrize("module", ["pip", "ensurepip", "setuptools", "distutils", "venv", "apt"])
def test_python_cannot_install_either(rootfs: pathlib.Path, module: str) -> None:
    ask = f"import importlib.util; print(importlib.util.find_spec({module!r}))"
    assert inside(rootfs, "/usr/bin/python3.11", "-I", "-c", ask) == "None\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_starts(rootfs: pathlib.Path, program: str) -> None:
    assert "--help" in inside(rootfs, f"/usr/local/bin/{program}", "--help")


@pytest.mark.parametrize("daemon", ["sriov-device-plugin", "sriov-cni-daemon"])
def test_both_daemons_know_their_version(rootfs: pathlib.Path, daemon: str) -> None:
    assert inside(rootfs, f"/usr/local/bin/{daemon}", "--version").split()[-1] == VERSION


def test_python_finds_libudev(rootfs: pathlib.Path) -> None:
    """By ldconfig's answer, which is why it is there."""
    inside(rootfs, "/usr/bin/python3.11", "-I", "-c", "import pyudev; pyudev.Context()")


def test_no_module_is_compiled_again_at_every_start(rootfs: pathlib.Path) -> None:
    """The root is read-only: whatever asks for its source's time, which is none's, is made and thrown away each time.

    The flags are 1 for what does not ask (PEP 552).
    """
    compiled = list(rootfs.rglob("*.pyc"))
    assert len(compiled) > 500
    assert [str(path) for path in compiled if path.read_bytes()[4:8] != b"\1\0\0\0"] == []


def test_no_library_is_lacking(rootfs: pathlib.Path) -> None:
    libraries = [f"/{path.relative_to(rootfs)}" for path in files(rootfs) if re.search(r"\.so(\.[\d.]+)?$", path.name)]
    assert len(libraries) > 50
    for library in libraries:
        listed = subprocess.run(
            ["chroot", rootfs, _LOADER, "--list", library], capture_output=True, text=True, check=False
        )
        assert "not found" not in listed.stdout + listed.stderr, f"{library}: {listed.stdout}"


def test_it_holds_what_is_locked_and_the_wheel(rootfs: pathlib.Path) -> None:
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.M))
    found = {
        each.metadata["Name"]: each.version for each in importlib.metadata.distributions(path=[str(rootfs / SITE)])
    }
    assert {name.replace("_", "-").lower(): version for name, version in found.items()} == {
        **locked,
        "sriov-underlay": VERSION,
    }


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_locked_package_has_a_wheel_for_the_machine(machine: str, tmp_path: pathlib.Path) -> None:
    """As the script asks for them: nothing is compiled, on neither."""
    script = (ROOT / "hack/build-rootfs").read_text()
    [releases] = re.findall(r"for release in (.*); do$", script, re.MULTILINE)
    platforms = [f"--platform={release}_{machine}" for release in releases.split()]
    fitting = ["--no-deps", "--only-binary=:all:", "--implementation=cp", "--python-version=3.11", *platforms]
    pip = [artefacts.output("hack/locked", "wheel"), "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
    lock = ["--require-hashes", "-r", str(ROOT / "requirements.lock"), "--dest", str(tmp_path)]
    artefacts.output(*pip, *fitting, *lock)
    pinned = re.findall(r"^[\w.-]+==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == len(pinned)
    assert any(name.endswith(f"_{machine}.whl") for name in names)


def test_debian_packages_are_those_on_the_page_and_scanners_see_them(rootfs: pathlib.Path) -> None:
    page = (ROOT / "deploy/image/packages").read_text()
    listed = {path.name: path.read_text() for path in (rootfs / "var/lib/dpkg/status.d").iterdir()}
    assert set(listed) == set(re.findall(r"^[a-z].*$", page, re.M))
    for name, fields in listed.items():
        assert fields.startswith(f"Package: {name}\n")
        assert re.search(r"^Version: \S+$", fields, re.M)
    assert 'VERSION_ID="12"' in (rootfs / "etc/os-release").read_text()


def test_licences_stay_with_what_they_are_about(rootfs: pathlib.Path) -> None:
    named = {path.name for path in (rootfs / "var/lib/dpkg/status.d").iterdir()}
    assert [name for name in sorted(named) if not (rootfs / "usr/share/doc" / name).exists()] == []


def test_everything_is_roots_and_nothing_lends_its_rights(rootfs: pathlib.Path) -> None:
    for path in files(rootfs):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (0, 0), path
        assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID) or path.is_dir(), path
        assert not found.st_mode & stat.S_IWOTH or found.st_mode & stat.S_ISVTX, path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "usage: hack/build-rootfs"),
        (["--fast"], "usage: hack/build-rootfs"),
        (["--wheel"], "--wheel needs a file"),
        (["/usr"], "/usr is not empty; name a new folder"),
    ],
)
def test_what_it_cannot_use_is_named(arguments: list[str], says: str) -> None:
    done = subprocess.run([ROOT / "hack/build-rootfs", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, says in done.stderr) == (1, "", True), done.stderr
