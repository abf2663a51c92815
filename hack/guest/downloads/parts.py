"""Parts of a guest, as unpacked Debian packages: QEMU with its libraries, a kernel, busybox.

Programs run through the dynamic linker they came with, so they depend on nothing that this machine has installed.
Refuses parts that changed since they were unpacked.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hack.guest import errors

LIBRARIES = "lib/x86_64-linux-gnu"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Parts:
    """Unpacked packages under `root`, with a kernel of version `release`."""

    root: Path
    release: str

    @property
    def kernel(self) -> Path:
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.root / "lib/modules" / self.release

    @property
    def busybox(self) -> Path:
        return self.root / "bin/busybox"

    @property
    def firmware(self) -> list[Path]:
        """Return folders for QEMU's -L: its own ROMs, the BIOS, the network boot ROMs."""
        return [self.root / folder for folder in ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")]

    @property
    def qemu_modules(self) -> Path:
        return self.root / "usr" / LIBRARIES / "qemu"

    def program(self, path: str, name: str | None = None) -> list[str]:
        """Return the command line that runs a program of these parts, under another name if it needs that.

        By their own linker: /lib64 has a link to the machine's, which works with a libc of the same version alone.
        """
        libraries = f"{self.root / LIBRARIES}:{self.root / 'usr' / LIBRARIES}"
        linker = [str(self.root / LIBRARIES / "ld-linux-x86-64.so.2"), "--library-path", libraries]
        return [*linker, *(["--argv0", name] if name else []), str(self.root / path)]

    def qemu(self) -> list[str]:
        return self.program("usr/bin/qemu-system-x86_64")


def found(root: Path) -> Parts:
    """Return the parts that were unpacked at `root`; checks that they can make the guest."""
    kernels = sorted((root / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise errors.UnavailableError("no kernel in the downloaded packages: linux-image-amd64 has changed its layout")
    parts = Parts(root, kernels[-1].name.removeprefix("vmlinuz-"))
    version = re.search(r"version (\d+)\.", _output([*parts.qemu(), "--version"]))
    if version is None or int(version[1]) < 8:
        raise errors.UnavailableError(
            f"QEMU >= 8 is needed for igb; the mirror has {version[1] if version else 'none'}"
        )
    if '"igb"' not in _output([*parts.qemu(), "-device", "help"], QEMU_MODULE_DIR=str(parts.qemu_modules)):
        raise errors.UnavailableError("this QEMU has no igb device")
    return parts


def seal(parts: Parts, folder: Path) -> None:
    """Record what was unpacked, so that `load` and `verify` notice changes."""
    files = {str(path.relative_to(parts.root)): [*_stamp(path), _sha256(path)] for path in _files(parts.root)}
    (folder / MANIFEST).write_text(json.dumps({"release": parts.release, "files": files}))


def load(folder: Path) -> Parts | None:
    """Return the sealed parts in `folder`, or None if they are missing or any file's size or time has changed."""
    return _sealed(folder, lambda path, entry: _stamp(path) == entry[:2])


def verify(folder: Path) -> Parts | None:
    """As `load`, but every file is read and its SHA-256 compared."""
    return _sealed(folder, lambda path, entry: _sha256(path) == entry[2])


def _sealed(folder: Path, same: Callable[[Path, list[int | str]], bool]) -> Parts | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        parts = Parts(folder / "root", manifest["release"])
        intact = all(same(parts.root / name, entry) for name, entry in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return parts if intact else None


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _output(command: list[str], **environment: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
