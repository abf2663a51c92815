"""Files about the devices that a container gets, and the answer to Allocate.

Device-info files are for Multus, CDI specs for the runtime. No pod may fail because of a file: if one cannot be
written, that is logged, and device nodes are passed in the way that needs no file.
"""

import logging
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from deviceplugin import allocation
from sriov import files
from sriov.hardware import node_devices
from sriov.pools import assignment, cdi, device_info

log = logging.getLogger(__name__)


class FilePlaces(msgspec.Struct, frozen=True):
    """Folders of the files, and the way in which device nodes are passed."""

    devinfo: pathlib.Path = pathlib.Path("/var/run/k8s.cni.cncf.io/devinfo/dp")
    specs: pathlib.Path = pathlib.Path("/var/run/cdi")
    delivery: cdi.Delivery = cdi.Delivery.NODES


class Handout:
    """Answers Allocate for every resource. For one thread.

    What the plugin offers is as of its last look. `claimed` returns the devices that are prepared for a claim at that
    moment, with it in words, since the DRA driver may have looked since; `changed` returns in words in what a device is
    another one now, such as a VF that is being removed.
    """

    def __init__(
        self,
        places: FilePlaces,
        claimed: Callable[[], Mapping[str, str]] = dict,
        changed: Callable[[node_devices.Candidate], str | None] = lambda _: None,
    ) -> None:
        self._places, self._claimed, self._changed = places, claimed, changed
        self._specs: dict[str, bytes | None] = {}  # what is on disk, by file name

    def allocate(self, pool: assignment.Pool, requests: Sequence[Sequence[str]]) -> list[allocation.Answer]:
        """Return one answer for each container. Writes only when all are granted. Raises AllocationError."""
        self._refuse_claimed(pool, requests)
        delivery = self._delivery(pool)
        answers = [allocation.answer(pool, ids, delivery) for ids in requests]
        self._refuse_changed(pool, requests)
        for ids in requests:
            self._tell_multus(pool, ids)
        return answers

    def _refuse_claimed(self, pool: assignment.Pool, requests: Sequence[Sequence[str]]) -> None:
        claimed = self._claimed()
        for each in (each for ids in requests for each in ids if each in claimed):
            raise allocation.AllocationError(
                f"device {each} of {pool.resource} cannot be given: it {claimed[each]}",
                "it is free once the kubelet has unprepared that claim",
                retryable=True,
            )

    def _refuse_changed(self, pool: assignment.Pool, requests: Sequence[Sequence[str]]) -> None:
        for each in (each for ids in requests for each in allocation.select(pool, ids)):
            if (why := self._changed(each.facts)) is not None:
                raise allocation.AllocationError(
                    f"device {each.id} of {pool.resource} cannot be given: it {why}",
                    "the plugin looks at the node again and sends the kubelet its list",
                    retryable=True,
                )

    def announce(self, pool: assignment.Pool) -> None:
        """Write the pool's present CDI spec."""
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
        """Remove the spec of a resource that is withdrawn."""
        if self._specs.pop(cdi.file_name(pool.settings), None) is not None:
            _remove(self._places.specs / cdi.file_name(pool.settings))

    def sweep(self) -> None:
        """Remove specs of resources that no longer exist; two specs that name one device make both unusable."""
        if self._places.delivery is not cdi.Delivery.NODES:
            for path in stale(self._places.specs, self._specs):
                _remove(path)

    def _delivery(self, pool: assignment.Pool) -> cdi.Delivery:
        """Return how to pass device nodes: by CDI only if the spec is written."""
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
                log.warning("cannot write %s, Multus will not report the device: %s", path, error.strerror)


def write(path: pathlib.Path, content: bytes, mode: int) -> None:
    """Replace the file at once; makes its folder if there is none. Raises OSError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    files.write(path, content, mode=mode, draft=path.with_name(f".{path.name}.new"))


def stale(folder: pathlib.Path, ours: Collection[str]) -> list[pathlib.Path]:
    """Return the CDI specs of any device plugin that are not ours now."""
    return [path for path in sorted(folder.glob(f"{cdi.PREFIX}*")) if path.name not in ours and not path.is_dir()]


def _remove(path: pathlib.Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("cannot remove %s, the runtime may find a device twice: %s", path, error.strerror)
