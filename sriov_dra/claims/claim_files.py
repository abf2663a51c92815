"""Files of prepared claims on disk: CDI specs and metadata; whole, written again at each prepare, and swept."""

import logging
import pathlib
import shutil
from collections.abc import Collection, Sequence

import msgspec

from sriov import errors, files
from sriov_dra.claims import claim_objects, edits, metadata

_log = logging.getLogger(__name__)


class ClaimFiles(msgspec.Struct, frozen=True):
    """`specs` is the folder of CDI, `plugin` the driver's own below the kubelet's, as both are on the host."""

    driver: str
    specs: pathlib.Path
    plugin: pathlib.Path

    def write(
        self,
        claim: claim_objects.ClaimMetadata,
        devices: Sequence[edits.PreparedDevice],
        hook: edits.Hook | None = None,
    ) -> None:
        """Write all files of a claim, whatever is there. Raises SriovError."""
        folder = metadata.folder(self.plugin, claim.uid)
        mounts = {}
        for request in dict.fromkeys(each.request for each in devices):
            host = folder / f"{request}.json"
            own = [each for each in devices if each.request == request]
            _write(host, metadata.content(self.driver, claim, own))
            mounts[request] = [metadata.mount(self.driver, claim, request, host)]
        _write(self._spec(claim.uid), edits.spec(self.driver, claim.uid, devices, mounts, hook))

    def remove(self, uid: str) -> None:
        """Remove the claim's files, the spec first: the runtime refuses a device whose mount is not there."""
        try:
            self._spec(uid).unlink(missing_ok=True)
            shutil.rmtree(metadata.folder(self.plugin, uid), ignore_errors=True)
        except OSError as error:
            raise _unwritable(self._spec(uid), error) from error

    def sweep(self, claims: Collection[str]) -> None:
        """Remove what is of no prepared claim: a crash left it."""
        names = [path.name for path in self.specs.glob("*.json")] if self.specs.is_dir() else []
        found = {uid for name in names if (uid := edits.uid_of(self.driver, name)) is not None}
        root = metadata.folder(self.plugin, "x").parent
        found |= {path.name for path in root.iterdir()} if root.is_dir() else set()
        for uid in sorted(found - set(claims)):
            _log.info("removing the files of claim %s, which is not prepared", uid)
            self.remove(uid)

    def _spec(self, uid: str) -> pathlib.Path:
        return self.specs / edits.file_name(self.driver, uid)


def _write(path: pathlib.Path, content: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.write(path, content, mode=0o644, draft=path.with_name(f".{path.name}.new"))
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: pathlib.Path, error: OSError) -> errors.SriovError:
    return errors.SriovError(f"cannot write {path}: {error.strerror}", "is the folder mounted, and is there room?")
