"""The claim hook's place on the node: a copy of the package's program below the driver's folder, which the host has.

The runtime executes it by that path (attached.c). It stays when the driver ends, since containers start again without
it. Other drivers keep such a copy at the same place (NVIDIA's k8s-dra-driver-gpu: nvidia-cdi-hook).
"""

import logging
import pathlib
import platform
import subprocess

from sriov import errors, files

_log = logging.getLogger(__name__)

NAME = "sriov-claim-hook"
_SECONDS = 10


class HookError(errors.SriovError):
    """No container runtime could execute the hook."""


def packaged() -> pathlib.Path:
    """Return the program for this machine. Wheel and image have it, an installation from the sources has not."""
    return pathlib.Path(__file__).with_name(f"hook-{platform.machine()}")


class ClaimHook:
    """The program at `source`, copied to `folder`. Both are paths of this process; the host has `folder`, too."""

    def __init__(self, source: pathlib.Path, folder: pathlib.Path) -> None:
        self._source, self._path = source, folder / NAME
        self._stamp: tuple[int, int] | None = None

    def ready(self) -> pathlib.Path:
        """Return the copy's path, as this process made it and tried it; another one is made again. Raises HookError."""
        if self._stamp is None or self._present() != self._stamp:
            self._install()
        return self._path

    def announce(self) -> None:
        """Log if claims cannot be proven: nothing is prepared that must be."""
        try:
            self.ready()
        except HookError as error:
            _log.error("claims of VFs are not prepared: %s", error)

    def _present(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _install(self) -> None:
        self._stamp = None
        try:
            content = self._source.read_bytes()
        except OSError as error:
            raise self._unusable(f"{self._source} cannot be read: {error.strerror}") from error
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if self._present() is None or self._path.read_bytes() != content:
                files.write(self._path, content, mode=0o755, draft=self._path.with_name(f".{NAME}.new"))
            subprocess.run([self._path, "--try"], check=True, capture_output=True, timeout=_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise self._unusable(f"{self._path} cannot be written and executed: {error}") from error
        self._stamp = self._present()

    def _unusable(self, why: str) -> HookError:
        return HookError(
            f"nothing could keep a container from starting without its VFs: {why}",
            "use the wheel or the image, which have the hook, or name the one that hack/build-shim --hook makes, by "
            "--claim-hook; or give the request's VfNetwork `unattached`, with the reason why a pod may start so",
        )
