"""What goes with the devices that a container is given: the answer, and the files that others read about them.

Device-info files for Multus, CDI specs for the runtime. A pod must not fail for a file: where one cannot be written,
the log says so, and device nodes go the way that needs none.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Collection, Sequence

from deviceplugin import allocation
from sriov import files
from sriov.pools import assignment, cdi, device_info

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class FilePlaces:
    """Where the files go, and by which way device nodes do."""

    devinfo: pathlib.Path = pathlib.Path("/var/run/k8s.cni.cncf.io/devinfo/dp")
    specs: pathlib.Path = pathlib.Path("/var/run/cdi")
    delivery: cdi.Delivery = cdi.Delivery.NODES


class Handout:
    """Answers Allocate for every resource. Not for use from several threads."""

    def __init__(self, places: FilePlaces) -> None:
        self._places = places
        self._specs: dict[str, bytes | None] = {}  # what is on disk, by file name

    def allocate(self, pool: assignment.Pool, requests: Sequence[Sequence[str]]) -> list[allocation.Answer]:
        """One answer a container. Writes only once all of them are granted. Raises AllocationError."""
        delivery = self._delivery(pool)
        answers = [allocation.answer(pool, ids, delivery) for ids in requests]
        for ids in requests:
            self._tell_multus(pool, ids)
        return answers

    def announce(self, pool: assignment.Pool) -> None:
        """Make the pool's CDI spec what the pool is."""
        if self._places.delivery is cdi.Delivery.NODES:
            return
        name, spec = cdi.file_name(pool.settings), cdi.spec(pool)
        if name in self._specs and self._specs[name] == spec:
            return
        path = self._places.specs / name
        try:
            if spec is None:
                path.unlink(missing_ok=True)
            else:
                write(path, spec, 0o644)
            self._specs[name] = spec
        except OSError as error:
            self._specs.pop(name, None)
            log.error("cannot write %s, devices are handed out without CDI: %s", path, error.strerror)

    def forget(self, pool: assignment.Pool) -> None:
        """The resource is withdrawn: its spec goes."""
        if self._specs.pop(cdi.file_name(pool.settings), None) is not None:
            _remove(self._places.specs / cdi.file_name(pool.settings))

    def sweep(self) -> None:
        """Remove specs of resources that are no more; two specs that name one device make both unusable."""
        if self._places.delivery is not cdi.Delivery.NODES:
            for path in stale(self._places.specs, self._specs):
                _remove(path)

    def _delivery(self, pool: assignment.Pool) -> cdi.Delivery:
        """By CDI only where the spec is written."""
        self.announce(pool)
        known = cdi.file_name(pool.settings) in self._specs
        return self._places.delivery if known else cdi.Delivery.NODES

    def _tell_multus(self, pool: assignment.Pool, ids: Sequence[str]) -> None:
        for device in allocation.select(pool, ids):
            content = device_info.content(pool, device)
            if content is None:
                continue
            path = self._places.devinfo / device_info.file_name(pool, device)
            try:
                write(path, content, 0o444)
            except OSError as error:
                log.warning("cannot write %s, Multus will not tell of the device: %s", path, error.strerror)


def write(path: pathlib.Path, content: bytes, mode: int) -> None:
    """Replace the file at once, making its folder where there is none. Raises OSError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    files.write(path, content, mode=mode, draft=path.with_name(f".{path.name}.new"))


def stale(folder: pathlib.Path, ours: Collection[str]) -> list[pathlib.Path]:
    """CDI specs of a device plugin, whichever, that are not ours now."""
    return [path for path in sorted(folder.glob(f"{cdi.PREFIX}*")) if path.name not in ours and not path.is_dir()]


def _remove(path: pathlib.Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("cannot remove %s, the runtime may find a device twice: %s", path, error.strerror)
