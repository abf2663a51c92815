"""The programs for Services on this machine's kernel: the object file, a BPF file system, the root of cgroup v2."""

import contextlib
import functools
import os
import pathlib
import subprocess
from collections.abc import Iterator

from sriov.linux.bpf import library, maps
from sriov_cni.dataplane import services
from tests import artefacts


@functools.cache
def built() -> pathlib.Path:
    return pathlib.Path(artefacts.output("hack/build-bpf"))


@functools.cache
def cgroup() -> pathlib.Path:
    return services.cgroup_root()


@contextlib.contextmanager
def mounted(folder: pathlib.Path, kind: str = "bpf") -> Iterator[pathlib.Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", kind, kind, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def pinned(pins: pathlib.Path, name: str, lengths: tuple[int, int]) -> Iterator[maps.Map]:
    """A map of a daemon that goes on with it."""
    calls = library.opened().calls
    descriptor = calls.bpf_obj_get(os.fsencode(pins / services.LAYOUT / name))
    assert descriptor >= 0
    try:
        yield maps.Map(calls, descriptor, *lengths)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def translator(pins: pathlib.Path) -> Iterator[services.Translator]:
    """A daemon's, until it ends; what it has pinned stays."""
    found = services.Translator(pins, cgroup(), built())
    try:
        yield found
    finally:
        found.close()
