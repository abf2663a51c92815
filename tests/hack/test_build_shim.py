"""The native shim's build: what comes out needs nothing and is hardened; what cannot be built says why."""

import os
import pathlib
import shutil
import struct
import subprocess

import pytest

from tests.sriov_cni.shim import shims

ROOT = pathlib.Path(__file__).parents[2]
SOURCE = ROOT / "sriov_cni/shim/shim.c"
SOURCES = (SOURCE, SOURCE.with_name("plugins.h"))

# include/uapi/linux/elf.h
_INTERPRETER, _STACK, _READ_ONLY_AFTER_RELOCATION = 3, 0x6474E551, 0x6474E552
_POSITION_INDEPENDENT = 3
_EXECUTABLE = 1


def segments(program: bytes) -> dict[int, int]:
    """The flags of each program header, by its type."""
    start, size, count = struct.unpack_from("<Q", program, 32)[0], *struct.unpack_from("<HH", program, 54)
    return dict(struct.unpack_from("<II", program, start + number * size) for number in range(count))


def test_it_is_static_and_hardened() -> None:
    [path] = shims.command("native")
    program = pathlib.Path(path).read_bytes()
    found = segments(program)
    assert _INTERPRETER not in found
    assert struct.unpack_from("<H", program, 16)[0] == _POSITION_INDEPENDENT
    assert not found[_STACK] & _EXECUTABLE
    assert _READ_ONLY_AFTER_RELOCATION in found


def test_it_is_small_enough_to_be_read_and_without_warnings() -> None:
    assert all(len(each.read_text().splitlines()) <= 300 for each in SOURCES)
    if shutil.which("cc") is None:
        pytest.skip("no cc; hack/packages gcc libc6-dev installs it")
    flags = ["-std=c11", "-fsyntax-only", "-Os", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    done = subprocess.run(["cc", *flags, SOURCE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_memory_is_asked_for_by_the_size_of_input() -> None:
    source = "".join(each.read_text() for each in SOURCES)
    assert not [word for word in ("alloc(", "strdup(", "getline(", "asprintf(", "strcpy(", "strcat(") if word in source]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target", "riscv64"], "--target riscv64: the shim is built for x86_64 and aarch64"),
        (["--target"], "--target needs a value"),
        (["--with", "tcc"], "--with tcc: there are cc (this machine's) and zig (PyPI's ziglang)"),
        (["--fast"], "unknown argument --fast"),
    ],
)
def test_what_it_does_not_know_is_named(arguments: list[str], says: str) -> None:
    done = subprocess.run([ROOT / "hack/build-shim", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, says in done.stderr) == (1, "", True), done.stderr


def test_without_any_compiler_it_says_what_to_do(tmp_path: pathlib.Path) -> None:
    """A PATH with what the script needs, no cc among it; and no PyPI."""
    for name in (
        "bash",
        "env",
        "uname",
        "dirname",
        "mkdir",
        "mktemp",
        "rm",
        "sha256sum",
        "cut",
        "cat",
        "flock",
        "python3",
    ):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    env = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "HOME": str(tmp_path)}
    done = subprocess.run([ROOT / "hack/build-shim"], capture_output=True, text=True, check=False, env=os.environ | env)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "no cc on this machine" in done.stderr
    assert "install gcc and libc6-dev" in done.stderr


def test_where_few_files_may_be_opened_that_is_what_it_says(tmp_path: pathlib.Path) -> None:
    """As in a step of an image's build: to make musl, which it has not cached, zig opens its sources side by side."""
    command = ["sh", "-c", 'ulimit -n 12 && exec "$0" --with zig', str(ROOT / "hack/build-shim")]
    env = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "zig may open 12 files (ulimit -Hn) and needs some thousands to make musl" in done.stderr
