from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from hack.guest import initramfs, jobs, progress
from hack.guest.downloads import netdevsim, parts

RELEASE = "6.12.1-amd64"
SHOWN = progress.Progress(io.StringIO(), quiet=True)


@pytest.fixture
def kernel(tmp_path: Path) -> parts.Parts:
    """A kernel whose depmod table knows what netdevsim needs."""
    have = parts.Parts(tmp_path / "parts/root", RELEASE)
    for name in ("kernel/net/psample/psample.ko", "kernel/net/other.ko"):
        (have.modules / name).parent.mkdir(parents=True, exist_ok=True)
        (have.modules / name).write_bytes(b"module")
    (have.modules / "modules.dep").write_text("kernel/net/psample/psample.ko:\nkernel/net/other.ko:\n")
    have.busybox.parent.mkdir(parents=True)
    have.busybox.write_bytes(b"busybox")
    return have


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module as it is in the cache."""
    folder = tmp_path / "netdevsim"
    (folder / "root").mkdir(parents=True)
    (folder / "root" / netdevsim.MODULE).write_bytes(b"ELF\0license=GPL\0depends=psample\0name=netdevsim\0")
    parts.seal(parts.Parts(folder / "root", RELEASE), folder)
    return folder / "root" / netdevsim.MODULE


def test_what_was_built_for_this_kernel_is_not_built_again(tmp_path: Path, kernel: parts.Parts, module: Path) -> None:
    assert netdevsim.built(tmp_path, kernel, SHOWN) == module


def test_verifying_drops_a_module_whose_bytes_have_changed(tmp_path: Path, module: Path) -> None:
    netdevsim.verify(tmp_path, SHOWN)
    assert module.exists()
    module.write_bytes(module.read_bytes()[::-1])
    netdevsim.verify(tmp_path, SHOWN)
    assert not module.parent.parent.exists()


@pytest.mark.parametrize(
    ("section", "needed"),
    [(b"\0depends=psample,macsec\0", ["psample", "macsec"]), (b"\0depends=\0", []), (b"", [])],
)
def test_what_a_module_needs(section: bytes, needed: list[str]) -> None:
    assert initramfs.needs(b"ELF" + section) == needed


def test_only_a_job_that_asks_for_the_simulator_pays_for_it(kernel: parts.Parts, module: Path) -> None:
    plain = jobs.initrd(jobs.Job(["true"], Path("/"), {}), kernel)
    whole = jobs.initrd(jobs.Job(["true"], Path("/"), {}, simulator=module), kernel)
    assert b"simulator_modules=''" in plain and b"psample.ko" not in plain
    assert b"simulator_modules='psample.ko netdevsim.ko'" in whole and module.read_bytes() in whole


def test_the_kernels_source_is_read_no_further_than_needed() -> None:
    """It is 1.5 GB; what lies behind the folder is never unpacked."""
    names = ["k/Makefile", "k/drivers/net/netdevsim/bus.c", "k/drivers/net/netdevsim/dev.c", "k/drivers/net/nlmon.c"]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    cut = packed.getvalue()[: 512 * len(names)] + b"x" * 512
    with tarfile.open(fileobj=io.BytesIO(cut), mode="r|") as tar:
        assert list(netdevsim.files(tar)) == [("bus.c", b""), ("dev.c", b"")]


@pytest.mark.parametrize(
    ("package", "taken"),
    [("gcc-12", True), ("libisl23", True), ("make", True), ("libc6", False), ("libselinux1", False), ("perl", False)],
)
def test_no_library_of_the_machines_own_programs_is_unpacked(package: str, taken: bool) -> None:
    assert bool(netdevsim.TOOLS.match(f"{package}_1.0_amd64.deb")) is taken
