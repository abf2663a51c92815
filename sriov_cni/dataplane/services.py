"""Services for pods whose only network is a VF: the cgroup programs of services.bpf.c, their table, and their pods.

Programs, links and maps are pinned: everything goes on while the daemon is away, and the next one takes it over. A
change of a Service is not seen half: its new backends are written to another place, then it points there, then the
former place is free.
"""

import contextlib
import itertools
import os
import pathlib
import shutil
import threading
from collections.abc import Iterable, Iterator

import msgspec

from sriov import errors
from sriov.cluster import services
from sriov.linux import libbpf
from sriov_cni.dataplane import ranges, service_maps

OBJECT = pathlib.Path(__file__).with_name("services.bpf.o")
LAYOUT = "services-1"
"""Folder of the pins: another layout of the maps has another one."""
MOST_BACKENDS = 262144  # max_entries of that map
_SET_RETVAL = 187  # bpf_set_retval(), from Linux 5.18 on
_REMEDY = "check that the daemon has CAP_BPF and CAP_SYS_ADMIN"


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


class Translator:
    """The programs and their maps. For any thread."""

    def __init__(self, pins: pathlib.Path, cgroup: pathlib.Path, file: pathlib.Path = OBJECT) -> None:
        """Load and attach them, or take over those of a former daemon. `pins` is in a BPF file system, `cgroup` the
        root of cgroup v2. Raises SriovError, which says what is missing."""
        self._pins = pins / LAYOUT
        self._lock = threading.Lock()
        self._cgroup = _opened(cgroup)
        chooses_error = int(libbpf.knows_helper(_SET_RETVAL)).to_bytes(4, "little")
        with _told(f"the programs for Services cannot be attached to {cgroup}, pinned in {self._pins}"):
            self._pins.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not libbpf.is_filesystem(self._pins):
                raise errors.SriovError(f"services: {pins} is in no BPF file system", "mount -t bpf bpf /sys/fs/bpf")
            self._object = libbpf.Object(file, self._pins, {".rodata": chooses_error})
            self._object.attach(self._cgroup, self._pins)
            self._take_over()

    def _take_over(self) -> None:
        self._pods = self._object.map("pods", *service_maps.POD)
        self._services = self._object.map("services", *service_maps.SERVICE)
        self._backends = self._object.map("backends", *service_maps.BACKEND)
        self._members = self._object.map("members", *service_maps.MEMBER)
        found = {key: service_maps.read_entry(value) for key, value in self._services.entries()}
        self._ranges = ranges.Ranges(MOST_BACKENDS, ((entry.first, entry.count) for entry in found.values()))
        self._known = {key: _Known(entry) for key, entry in found.items()}
        used = (max(entry.number, entry.identity) for entry in found.values())
        self._numbers = itertools.count(max(used, default=0) + 1)

    def apply(self, change: services.TableChange) -> None:
        """Carry out a checked change; the next connect of a pod sees it. After an error the table is as before.

        Raises SriovError.
        """
        with self._lock, _told("the table of Services stays as it was"):
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

    def admit(self, cookie: int) -> None:
        """From now on the namespace's sockets reach Services. Raises SriovError if there is no room for another pod."""
        with _told("the pod gets no Services"):
            self._pods.update([(service_maps.pod(cookie), bytes(4))])

    def admitted(self) -> set[int]:
        return {service_maps.cookie(key) for key, _ in self._pods.entries()}

    def dismiss(self, cookies: Iterable[int]) -> None:
        """Forget namespaces. A cookie is not used a second time (net/core/net_namespace.c)."""
        with _told("pods that are gone are not forgotten"):
            self._pods.delete([service_maps.pod(each) for each in cookies])

    def problems(self) -> list[str]:
        """Return why pods do not reach Services although everything is attached; the kernel is asked."""
        try:
            missing = self._object.ineffective(self._cgroup)
        except OSError as error:
            return [f"the kernel does not say which programs run for Services: {error.strerror}"]
        if not missing:
            return []
        return [f"programs for Services are attached but do not run: {', '.join(missing)}"]

    def close(self) -> None:
        """What is pinned goes on."""
        self._object.close()
        os.close(self._cgroup)


def remove(pins: pathlib.Path) -> None:
    """End everything that is pinned in the folder: links and with them programs, and maps."""
    shutil.rmtree(pins / LAYOUT, ignore_errors=True)


def cgroup_root(mountinfo: pathlib.Path = pathlib.Path("/proc/self/mountinfo")) -> pathlib.Path:
    """Return where cgroup v2 is mounted (proc_pid_mountinfo(5)). Raises SriovError if it is not."""
    for line in mountinfo.read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return pathlib.Path(before.split()[4])
    raise errors.SriovError("services: cgroup v2 is not mounted", "mount it, or name it with --cgroup-root")


def _no_room(service: services.Service, free: int) -> errors.SriovError:
    return errors.SriovError(
        f"services: the table of Services stays as it was: no room for the {len(service.backends)} backends of"
        f" {service.frontend.address}, port {service.frontend.port}, among the {free} places that are free",
        f"a node has room for {MOST_BACKENDS} backends of all Services, those of a changed Service twice",
    )


def _opened(cgroup: pathlib.Path) -> int:
    """Open the root of all cgroups. In a container, what looks like one is the container's own: it has cgroup.events,
    which no root has (Documentation/admin-guide/cgroup-v2.rst)."""
    if (cgroup / "cgroup.events").exists():
        raise errors.SriovError(
            f"services: {cgroup} is not the root of cgroup v2, so that no pod would reach Services",
            "mount the host's /sys/fs/cgroup, and name it with --cgroup-root",
        )
    try:
        return os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.SriovError(
            f"services: no cgroup v2 at {cgroup}: {error.strerror}", "mount it: mount -t cgroup2 cgroup2 DIR"
        ) from error


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.SriovError(f"services: {what}: {error.strerror}", _REMEDY) from error
