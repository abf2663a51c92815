"""Released artefacts, built once and kept in build/ until their sources change: wheel, image, the wheel's programs.

Tests of image and installation run this and not the checkout. Several processes may ask at once.
"""

import contextlib
import fcntl
import functools
import hashlib
import pathlib
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping

PROJECT = pathlib.Path(__file__).parents[1]
BUILD = PROJECT / "build/artefacts"
ROOTFS = BUILD / "rootfs"
VERSION: str = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
NEXT = "9.9.9"
"""A version that is released later, of the same sources."""
INSTALLED = pathlib.Path("/opt/sriov-underlay")
"""Where `programs` are to be, each version in a folder of its name."""
_NEEDLESS = shutil.ignore_patterns("[.]*", "__pycache__", "build", "dist", "tests", "docs")
_MADE_BY = ("build-rootfs", "sbom.py", "licences.py", "sbom.lock")
RECIPE = (
    *(PROJECT / "hack" / name for name in _MADE_BY),
    *(PROJECT / "deploy/image" / name for name in ("packages", "sriov-idle")),
    PROJECT / "requirements.lock",
)
"""What the image is made by, beside the wheel."""


class BuildError(Exception):
    """What the script said; it may be that this machine cannot build it."""


@functools.cache
def wheel() -> pathlib.Path:
    """Raises BuildError."""
    with _locked("lock"):
        return pathlib.Path(output("hack/build-wheel", "--out", str(BUILD)))


@functools.cache
def rootfs() -> pathlib.Path:
    """Raises BuildError."""
    packed = wheel()
    keep([ROOTFS], "rootfs", (packed, *RECIPE), lambda: _make_rootfs(packed))
    return ROOTFS


@functools.cache
def programs() -> dict[str, pathlib.Path]:
    """By version, virtual environments as docs/systemd.md has them, for a place below INSTALLED. Raises BuildError."""
    packed = wheel()
    made = {version: BUILD / f"programs-{version}" for version in (VERSION, NEXT)}

    def make() -> None:
        _install(packed, made[VERSION])
        _install_next(made[NEXT])

    keep(made.values(), "programs", (packed, PROJECT / "requirements.lock"), make)
    return made


def keep(
    made: Iterable[pathlib.Path],
    name: str,
    parts: Iterable[pathlib.Path],
    make: Callable[[], None],
    *,
    lock: str = "lock",
) -> None:
    """Has `make` make these folders, unless they are there and were made of the same parts; `name` is the note's.

    Who packs the wheel, and who makes something out of it, has the same lock.
    """
    want = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    stamp = BUILD / f"{name}.sha256"
    with _locked(lock):
        if not stamp.exists() or stamp.read_text() != want:
            stamp.unlink(missing_ok=True)
            for folder in made:
                shutil.rmtree(folder, ignore_errors=True)
            make()
            stamp.write_text(want)


def _make_rootfs(packed: pathlib.Path) -> None:
    output("hack/build-rootfs", "--wheel", str(packed), str(ROOTFS))


def output(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What it prints; a program without a leading / is the project's. Raises BuildError."""
    command = (str(PROJECT / program), *arguments)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"no {error.filename} on this machine") from error
    if done.returncode:
        raise BuildError(done.stderr.strip())
    return done.stdout.strip()


def _install_next(into: pathlib.Path) -> None:
    """Its wheel is not kept: beside the current one it would be taken for what the image is made of."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "source")
        shutil.copytree(PROJECT, source, ignore=_NEEDLESS)
        project = source / "pyproject.toml"
        project.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{NEXT}"', project.read_text()))
        _install(pathlib.Path(output(str(source / "hack/build-wheel"), "--out", folder)), into)


def _install(packed: pathlib.Path, into: pathlib.Path) -> None:
    """The programs' first lines name the interpreter where it will be, and not where it was made.

    Debian's Python, since units have ProtectHome=yes, and others' are often in a home.
    """
    output("/usr/bin/python3", "-m", "venv", "--without-pip", str(into))
    python = output("hack/locked", "wheel")
    pip = (python, "-m", "pip", "--python", str(into), "install", "-qq", "--disable-pip-version-check")
    output(*pip, "--require-hashes", "-r", str(PROJECT / "requirements.lock"))
    output(*pip, "--no-deps", "--no-index", str(packed))
    version = packed.name.split("-")[1]
    for program in into.glob("bin/*sriov*"):
        program.write_text(program.read_text().replace(str(into), str(INSTALLED / version)))


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
