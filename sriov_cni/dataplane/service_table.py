"""Table of Services in the kernel's maps, as a change leaves it.

A change of a Service is not seen half: its new backends are written to another place, then it points there, then the
former place is free.
"""

import contextlib
import itertools
from collections.abc import Iterable

import msgspec

from sriov import errors
from sriov.cluster import services
from sriov.linux.bpf import maps
from sriov_cni.dataplane import ranges, service_maps

MOST_BACKENDS = 262144
"""Of pods' Services: max_entries of that map without the proof's."""


class _Known(msgspec.Struct):
    """A Service as the maps have it. `members` are its keys in the map of that name."""

    entry: service_maps.Entry
    members: tuple[bytes, ...] = ()


class _Writing(msgspec.Struct):
    """What is to be written, by map, and what the Services are then, by key."""

    backends: list[tuple[bytes, bytes]] = []
    members: list[tuple[bytes, bytes]] = []
    services: list[tuple[bytes, bytes]] = []
    known: dict[bytes, _Known] = {}


class KernelTable:
    """The maps `services`, `backends` and `members`, taken over as they are. For one thread at a time."""

    def __init__(self, services_: maps.Map, backends: maps.Map, members: maps.Map) -> None:
        self._services, self._backends, self._members = services_, backends, members
        pairs = ((key, service_maps.read_entry(value)) for key, value in services_.entries())
        found = {key: entry for key, entry in pairs if service_maps.space(key) == service_maps.PODS}
        self._ranges = ranges.Ranges(MOST_BACKENDS, ((entry.first, entry.count) for entry in found.values()))
        self._known = {key: _Known(entry) for key, entry in found.items()}
        used = (max(entry.number, entry.identity) for entry in found.values())
        self._numbers = itertools.count(max(used, default=0) + 1)

    def apply(self, change: services.TableChange) -> None:
        """Carry out a checked change. After an error the table is as before. Raises SriovError, OSError."""
        gone = {service_maps.frontend(each) for each in change.gone} & {*self._known}
        if change.whole:
            gone = {*self._known} - {service_maps.frontend(each.frontend) for each in change.services}
        with contextlib.ExitStack() as undo:
            new = _Writing()
            undo.callback(lambda: self._give_back(new.known.values()))
            self._plan(change.services, new)
            self._write(new)
            undo.pop_all()
        self._services.delete([*gone])
        self._forget(gone, new)
        if change.whole:
            self._sweep_members()

    def _plan(self, wanted: Iterable[services.Service], new: _Writing) -> None:
        for service in wanted:
            key, number = service_maps.frontend(service.frontend), next(self._numbers)
            first = self._ranges.take(len(service.backends))
            if first is None:
                raise _no_room(service, self._ranges.free)
            before = self._known.get(key)
            identity = number if before is None else before.entry.identity
            entry = service_maps.Entry(first, len(service.backends), number, service.affinity, identity)
            members = service_maps.members(service, identity)
            new.known[key] = _Known(entry, tuple(key for key, _ in members))
            new.backends += service_maps.backends(service, entry)
            new.members += members
            new.services.append((key, service_maps.entry(key, entry)))

    def _write(self, new: _Writing) -> None:
        try:
            self._backends.update(new.backends)
            self._members.update(new.members)
            self._services.update(new.services)
        except OSError:
            before = {key: self._known[key] for key in new.known if key in self._known}
            self._services.update([(key, service_maps.entry(key, known.entry)) for key, known in before.items()])
            self._services.delete([key for key in new.known if key not in before])
            left = {key for known in before.values() for key in known.members}
            self._members.delete([key for key, _ in new.members if key not in left])
            raise

    def _forget(self, gone: Iterable[bytes], new: _Writing) -> None:
        """Let go what Services had that are gone or other now: their backends, and which of them a pod may keep."""
        left = {key for key, _ in new.members}
        former = [known for key in (*gone, *new.known) if (known := self._known.pop(key, None)) is not None]
        self._known |= new.known
        self._give_back(former)
        self._members.delete([key for known in former for key in known.members if key not in left])

    def _give_back(self, former: Iterable[_Known]) -> None:
        for known in former:
            self._ranges.give(known.entry.first, known.entry.count)

    def _sweep_members(self) -> None:
        """The same of what a former daemon has left."""
        used = {key for known in self._known.values() for key in known.members}
        self._members.delete([key for key, _ in self._members.entries() if key not in used])


def _no_room(service: services.Service, free: int) -> errors.SriovError:
    return errors.SriovError(
        f"services: the table of Services stays as it was: no room for the {len(service.backends)} backends of"
        f" {service.frontend.address}, port {service.frontend.port}, among the {free} places that are free",
        f"a node has room for {MOST_BACKENDS} backends of all Services, those of a changed Service twice",
    )
