"""netdevsim, the kernel's own simulator of network cards, built from the guest kernel's source: Debian ships no module.

Compiler, make and headers are unpacked beside the build and deleted after it: nothing is installed, and every machine
has the same compiler. It is built once, when a guest first needs it. Refuses any kernel but the cached one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.guest import errors, progress
from hack.guest.downloads import apt, cache, parts

MODULE = "netdevsim.ko"
FOLDER = "drivers/net/netdevsim"
# Tools that are not on every Debian. With another library here, the machine's own programs would load it too.
TOOLS = re.compile(r"(binutils|cpp-12|gcc-12|lib(binutils|ctf|elf|gcc-12-dev|gmp|isl|jansson|mpc|mpfr|zstd)|make|zlib)")
LIBRARIES = tuple(f"{folder}lib/x86_64-linux-gnu" for folder in ("", "usr/"))


def built(store: Path, kernel: parts.Parts, shown: progress.Progress) -> Path:
    """Return the module for `kernel`, which the caller has borrowed from the cache at `store`; built if necessary."""
    with _alone(store, shown):
        have = parts.load(store / "netdevsim")
        if have is None or have.release != kernel.release:
            have = _build(store, kernel.release, shown)
    return have.root / MODULE


def verify(store: Path, shown: progress.Progress) -> None:
    """Remove a module whose bytes have changed; it is built again when it is next needed."""
    with _alone(store, shown):
        if (store / "netdevsim").is_dir() and parts.verify(store / "netdevsim") is None:
            shutil.rmtree(store / "netdevsim")


@contextmanager
def _alone(store: Path, shown: progress.Progress) -> Iterator[None]:
    """Lock the build: two guests that start at once build it once. The cache's own lock is shared by all that run."""
    with (store / "netdevsim.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            shown.show("waiting for another guest to build netdevsim")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(store: Path, release: str, shown: progress.Progress) -> parts.Parts:
    new = store / "netdevsim.new"
    for path in (new, store / "netdevsim"):
        shutil.rmtree(path, ignore_errors=True)
    work = new / "work"
    work.mkdir(parents=True)
    source = _provide(work, release, shown)
    _make(work, release, source, shown)
    (new / "root").mkdir()
    shutil.move(source / MODULE, new / "root")
    shutil.rmtree(work)
    parts.seal(parts.Parts(new / "root", release), new)
    new.rename(store / "netdevsim")
    shown.say(f"cached {MODULE} for Linux {release} in {store}")
    return parts.Parts(store / "netdevsim" / "root", release)


def _provide(work: Path, release: str, shown: progress.Progress) -> Path:
    """Unpacks headers and tools below `work`; returns the folder of the module's source."""
    try:
        debs = apt.fetched(work / "apt", lambda private: _download(private, release, shown), shown)
    except errors.UnavailableError as error:
        raise errors.UnavailableError(
            f"no headers and source of Linux {release} obtainable, which netdevsim is built from ({error}); "
            "where the mirror has a newer kernel by now, `hack/lab clean` makes the lab take that one"
        ) from error
    shown.show("unpacking the module's source")
    source = _extracted(next(deb for deb in debs if deb.name.startswith("linux-source-")), work)
    cache.unpack([deb for deb in debs if not deb.name.startswith("linux-source-")], work / "root", shown)
    return source


def _download(private: apt.Apt, release: str, shown: progress.Progress) -> list[Path]:
    """Download headers and source without their recommended packages, which would include another kernel."""
    what, abi = "a compiler and the kernel's source", release.rpartition("-")[0]
    headers = [f"linux-headers-{release}", f"linux-headers-{abi}-common"]
    found = private.download_alone(headers, what, shown)
    version = subprocess.run(["dpkg-deb", "-f", found[0], "Version"], check=True, capture_output=True, text=True).stdout
    series = ".".join(release.split(".")[:2])
    found += private.download_alone([f"linux-source-{series}={version.strip()}"], what, shown)
    kbuild = f"linux-kbuild-{abi}"
    tools = private.download([kbuild, "gcc-12", "make"], what, shown)
    return [*found, *(deb for deb in tools if TOOLS.match(deb.name) or deb.name.startswith(kbuild))]


def _extracted(deb: Path, work: Path) -> Path:
    """Extract the module's folder from the tar of the whole kernel source in the package; read only that far."""
    folder = work / "source"
    folder.mkdir()
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as package:
            inner = next(member for member in package if member.name.endswith(".tar.xz"))
            with tarfile.open(fileobj=package.extractfile(inner), mode="r|xz") as kernel:
                for name, body in files(kernel):
                    (folder / name).write_bytes(body)
        process.kill()
    return folder


def files(kernel: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Yield the folder's files, which are adjacent: what comes after the last of them is not read."""
    found = False
    for member in kernel:
        if f"/{FOLDER}/" in member.name:
            found = True
            body = kernel.extractfile(member)
            yield Path(member.name).name, body.read() if body else b""
        elif found:
            return


def _make(work: Path, release: str, source: Path, shown: progress.Progress) -> None:
    """Run the kernel's own build on the one folder. If it fails, its output stays beside it."""
    root, log = work / "root", work / "log"
    headers = root / "usr/src" / f"linux-headers-{release}"
    # Debian's one-line Makefile names the other half of the headers by the path where it would be installed.
    common = headers.with_name(f"linux-headers-{release.rpartition('-')[0]}-common")
    (headers / "Makefile").write_text(f"include {common}/Makefile\n")
    total = len(list(source.glob("*.c")))
    environment = {
        "PATH": f"{root}/usr/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": ":".join(str(root / folder) for folder in LIBRARIES),
        "LANG": "C.UTF-8",
    }
    with log.open("w") as kept, subprocess.Popen(
        ["make", f"-j{os.cpu_count()}", "-C", headers, f"M={source}", "modules", "CONFIG_NETDEVSIM=m",
         "CONFIG_DEBUG_INFO=", "CONFIG_DEBUG_INFO_BTF_MODULES=", "KCFLAGS=-DCONFIG_NETDEVSIM_MODULE=1"],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            shown.show("building netdevsim", min(1.0, len(list(source.glob("*.o"))) / total))
    if process.returncode or not (source / MODULE).is_file():
        raise errors.LabError(f"netdevsim could not be built for Linux {release}; what make said is in {log}")
