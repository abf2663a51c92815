"""Services for pods whose only network is a VF: the cgroup programs of services.bpf.c, their table, and their pods.

Programs, links and maps are pinned: everything goes on while the daemon is away, and the next one takes it over.
"""

import contextlib
import logging
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Iterable, Iterator

from sriov import errors
from sriov.cluster import services
from sriov.linux import libbpf
from sriov_cni.dataplane import proof, service_maps, service_table

_log = logging.getLogger(__name__)

OBJECT = pathlib.Path(__file__).with_name("services.bpf.o")
LAYOUT = "services-1"
"""Folder of the pins: another layout of the maps has another one."""
_SET_RETVAL = 187  # bpf_set_retval(), from Linux 5.18 on
_REMEDY = "check that the daemon has CAP_BPF and CAP_SYS_ADMIN"


class Translator:
    """The programs and their maps. For any thread."""

    def __init__(self, pins: pathlib.Path, cgroup: pathlib.Path, file: pathlib.Path = OBJECT) -> None:
        """Load and attach them, or take over those of a former daemon. `pins` is in a BPF file system, `cgroup` the
        root of cgroup v2. Raises SriovError, which says what is missing."""
        self._pins = pins / LAYOUT
        self._lock = threading.Lock()
        self._told: list[str] = []
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
        self._frontends = self._object.map("frontends", *service_maps.FRONTEND)
        self._table = service_table.KernelTable(self._services, self._backends, self._members)
        self._proof = proof.Prover(proof.Maps(self._pods, self._services, self._backends))

    def apply(self, change: services.TableChange) -> None:
        """Carry out a checked change; the next connect of a pod sees it. After an error the table is as before.

        Raises SriovError.
        """
        with self._lock, _told("the table of Services stays as it was"):
            self._table.apply(change)

    def reached(self) -> list[service_maps.Reached]:
        """Return by which Service sockets have got which backend; the newest thousands. Raises OSError."""
        return [service_maps.reached(*each) for each in self._frontends.copied()]

    def admit(self, cookie: int) -> None:
        """From now on the namespace's sockets reach Services. Raises SriovError if there is no room for another pod."""
        with _told("the pod gets no Services"):
            self._pods.update([(service_maps.pod(cookie), service_maps.pod_space(service_maps.PODS))])

    def admitted(self) -> set[int]:
        """Return the pods' namespaces."""
        pods = service_maps.pod_space(service_maps.PODS)
        return {service_maps.cookie(key) for key, value in self._pods.entries() if value == pods}

    def dismiss(self, cookies: Iterable[int]) -> None:
        """Forget namespaces. A cookie is not used a second time (net/core/net_namespace.c)."""
        with _told("pods that are gone are not forgotten"):
            self._pods.delete([service_maps.pod(each) for each in cookies])

    def prove(self) -> None:
        """Make connections through the programs, unless that was done a moment ago; problems() then has what failed,
        and the log what is new of it. Blocks, for a second at the most."""
        if self._proof.prove(time.monotonic()):
            self._tell(self.problems())

    def _tell(self, problems: list[str]) -> None:
        for each in problems:
            if each not in self._told:
                _log.error("%s", each)
        if self._told and not problems:
            _log.info("pods reach Services again")
        self._told = problems

    def problems(self) -> list[str]:
        """Return why pods do not reach Services although everything is attached; the kernel is asked."""
        try:
            missing = self._object.ineffective(self._cgroup)
        except OSError as error:
            return [f"the kernel does not say which programs run for Services: {error.strerror}"]
        if missing:
            return [f"programs for Services are attached but do not run: {', '.join(missing)}"]
        return [self._proof.problem] if self._proof.problem else []

    def close(self) -> None:
        """What is pinned goes on."""
        self._proof.close()
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
