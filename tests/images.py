"""The image as hack/build-image makes it of deploy/image/Containerfile, on a machine that reaches no registry.

The base is made here of what debian:bookworm-slim is made of, Debian's smallest set of packages, and given in place of
the pinned one; the Containerfile is as it is. This machine's suppliers are mounted while its steps run, and are neither
in the base nor in the image. What was built is kept as a runtime unpacks it; the storage goes.
"""

import dataclasses
import functools
import json
import os
import pathlib
import re
import resource
import tempfile
from collections.abc import Mapping
from typing import Any

from tests import artefacts, suppliers

IMAGE = artefacts.BUILD / "image"
_CONTAINERFILE = artefacts.PROJECT / "deploy/image/Containerfile"
_SCRIPTS = [artefacts.PROJECT / "hack" / name for name in ("build-image", "build-wheel", "build-shim", "locked")]
_PROCESSES = 32768
_BUILDAH = "/usr/bin/buildah"
_BASE = "localhost/debian:bookworm"
_NAME = "localhost/sriov-underlay:built"


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """`root` is its one layer, unpacked; `config` is OCI's: image-spec, config.md."""

    root: pathlib.Path
    config: Mapping[str, Any]


@functools.cache
def image() -> Image:
    """Raises artefacts.BuildError."""
    parts = (artefacts.wheel(), *artefacts.RECIPE, _CONTAINERFILE, *_SCRIPTS)
    artefacts.keep([IMAGE], "image", parts, _make, lock="image.lock")
    return Image(IMAGE / "root", json.loads((IMAGE / "config.json").read_text()))


def _make() -> None:
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        folder = pathlib.Path(name)
        supplied = suppliers.written(folder)
        environment = _environment(folder)
        _make_base(folder, supplied, environment)
        [pinned] = re.findall(r"^FROM (\S+) AS build$", _CONTAINERFILE.read_text(), re.M)
        volumes = [f"--volume={source}:{target}:ro" for target, source in supplied.mounts.items()]
        instead = f"--build-context={pinned}=container-image://{_BASE}"
        options = ("--with", "buildah", "--tag", _NAME, "--archive", f"{folder}/image.tar")
        artefacts.output("hack/build-image", *options, "--", instead, *volumes, *_limits(), environment=environment)
        (folder / "layout").mkdir()
        artefacts.output("/bin/tar", "-x", "-f", f"{folder}/image.tar", "-C", f"{folder}/layout")
        _unpack(folder / "layout")


def _limits() -> list[str]:
    """Processes as with Debian 12's buildah: newer ones allow more than this machine does, which not every root may."""
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    few = _PROCESSES if most == resource.RLIM_INFINITY else min(most, _PROCESSES)
    return [f"--ulimit=nproc={few}:{few}"]


def _environment(folder: pathlib.Path) -> Mapping[str, str]:
    """Storage that needs no overlayfs, and steps in a chroot, which needs no runtime and no cgroup."""
    storage = {"driver": "vfs", "runroot": f"{folder}/run", "graphroot": f"{folder}/storage"}
    lines = [f'{key} = "{value}"\n' for key, value in storage.items()]
    (folder / "storage.conf").write_text("".join(["[storage]\n", *lines]))
    return os.environ | {"CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf", "BUILDAH_ISOLATION": "chroot"}


def _make_base(folder: pathlib.Path, supplied: suppliers.Suppliers, environment: Mapping[str, str]) -> None:
    """Without what mmdebstrap leaves of this machine's suppliers."""
    forget = 'rm "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap'
    options = ("--quiet", "--variant=minbase", f"--aptopt={supplied.acquire}", f"--customize-hook={forget}")
    context = folder / "base"
    context.mkdir()
    artefacts.output("/usr/bin/mmdebstrap", *options, "bookworm", f"{context}/root.tar", str(supplied.sources))
    (context / "Containerfile").write_text("FROM scratch\nADD root.tar /\n")
    artefacts.output(_BUILDAH, "build", "--quiet", "--tag", _BASE, str(context), environment=environment)


def _unpack(layout: pathlib.Path) -> None:
    def blob(described: Mapping[str, str]) -> pathlib.Path:
        return pathlib.Path(layout, "blobs", *described["digest"].split(":"))

    [named] = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(named).read_text())
    [layer] = manifest["layers"]
    (IMAGE / "root").mkdir(parents=True)
    artefacts.output("/bin/tar", "-x", "--numeric-owner", "-f", str(blob(layer)), "-C", str(IMAGE / "root"))
    (IMAGE / "config.json").write_bytes(blob(manifest["config"]).read_bytes())
