"""Contenders of `hack/bench attach`, each called as by a runtime: a process, environment, stdin, stdout.

All have the same links, the same pods and the same host-local. This process measures a call: the wall time from before
the fork to the exit, and the CPU of the child and of those it waited for (wait4(2)).
"""

import dataclasses
import json
import os
import pathlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from hack.benchmark.attach import peers
from hack.benchmark.stages import stage

_IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.123.0.0/16"}]]}
VLAN = 100
# Newer versions of host-device end so if the node's links change while they are listed, as in a burst (EINTR of
# vishvananda/netlink for NLM_F_DUMP_INTR). A runtime repeats the call, and so it is done here: all of it is its time.
_INTERRUPTED, _TIMES = b"interrupted system call", 50
_SIGNALS = (signal.SIGPIPE,)  # ignored by an interpreter, but by no runtime


class BrokenRunError(Exception):
    """A call failed, so there is nothing to compare."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds of one call. `cpu` excludes the daemon's."""

    wall: float
    cpu: float


@dataclasses.dataclass(frozen=True, slots=True)
class Contender:
    """`network` is the configuration for a link, `environment` that of every call; ours also have a daemon."""

    name: str
    command: Sequence[str]
    network: Callable[[stage.Link], Mapping[str, object]]
    environment: Mapping[str, str]
    daemon: stage.Daemon | None = None

    def call(self, verb: str, link: stage.Link) -> Spent:
        return self.finish(verb, link, self.start(verb, link))

    def start(self, verb: str, link: stage.Link) -> "Started":
        env = {"CNI_COMMAND": verb, "CNI_CONTAINERID": f"{self.name}-{link.name}", "CNI_NETNS": link.pod_path}
        return launch(self.command, {**self.environment, **env}, json.dumps(self.network(link)).encode())

    def finish(self, verb: str, link: stage.Link, started: "Started") -> Spent:
        status, said, spent = started.wait()
        for _ in range(_TIMES):
            if status == 0 or _INTERRUPTED not in said:
                break
            again = dataclasses.replace(self.start(verb, link), began=started.began)
            status, said, more = again.wait()
            spent = Spent(more.wall, spent.cpu + more.cpu)
        if status != 0:
            raise BrokenRunError(f"{verb} of {link.name} by {self.name} ended with {status}: {said.decode()}")
        if (verb == "ADD") != (b"interfaces" in said):
            raise BrokenRunError(f"{verb} of {link.name} by {self.name} answered {said.decode() or 'nothing'}")
        return spent


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A started process; call wait() once."""

    pid: int
    began: float
    output: int

    def wait(self) -> tuple[int, bytes, Spent]:
        """Return exit status, stdout, cost."""
        _, status, used = os.wait4(self.pid, 0)
        wall = (time.perf_counter() - self.began) * 1000
        said = os.pread(self.output, 1 << 20, 0)
        os.close(self.output)
        return os.waitstatus_to_exitcode(status), said, Spent(wall, (used.ru_utime + used.ru_stime) * 1000)


def launch(command: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> Started:
    """Start a process; its streams are in memory, so that nothing has to read along."""
    source, output = os.memfd_create("stdin"), os.memfd_create("stdout")
    os.write(source, stdin)
    os.lseek(source, 0, os.SEEK_SET)
    files = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, output, 1)]
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], list(command), dict(environment), file_actions=files, setsigdef=_SIGNALS)
    os.close(source)
    return Started(pid, began, output)


@dataclasses.dataclass(frozen=True, slots=True)
class Shims:
    """The commands that start a checkout's shims."""

    native: Sequence[str]
    python: Sequence[str]


def shim_sources(root: pathlib.Path) -> pathlib.Path:
    """Return the folder of a checkout's shim.py and shim.c; older ones have them in sriov_cni itself."""
    package = root / "sriov_cni"
    return package / "shim" if (package / "shim").is_dir() else package


def everybody(where: stage.Stage, others: peers.Peers, own: Shims, beside: Shims | None) -> list[Contender]:
    """Return ours by either shim, ours without IPAM, both versions of host-device, and another checkout's by either."""
    theirs = {"CNI_IFNAME": "net1", "CNI_PATH": str(others.current), "PATH": os.environ["PATH"]}

    def sriov(link: stage.Link) -> Mapping[str, object]:
        return _network("sriov", where.folder, deviceID=link.pci)

    def host_device(link: stage.Link) -> Mapping[str, object]:
        return _network("host-device", where.folder, device=link.name)

    def without_ipam(link: stage.Link) -> Mapping[str, object]:
        return {key: value for key, value in sriov(link).items() if key != "ipam"}

    def with_vlan(link: stage.Link) -> Mapping[str, object]:
        return {**without_ipam(link), "vlan": VLAN}

    def by(daemon: stage.Daemon) -> Mapping[str, str]:
        return {**theirs, "SRIOV_CNI_SOCKET": str(daemon.socket)}

    found = [
        Contender("native", own.native, sriov, by(where.daemon), where.daemon),
        Contender("python", own.python, sriov, by(where.daemon), where.daemon),
        Contender("native_no_ipam", own.native, without_ipam, by(where.daemon), where.daemon),
        *([Contender("native_vlan", own.native, with_vlan, by(where.daemon), where.daemon)] if where.has_pfs else []),
        Contender("v19", [str(others.current / "host-device")], host_device, theirs),
        Contender("v111", [str(others.old / "host-device")], host_device, theirs),
    ]
    if where.beside is not None and beside is not None:
        found += [
            Contender("native_beside", beside.native, sriov, by(where.beside), where.beside),
            Contender("python_beside", beside.python, sriov, by(where.beside), where.beside),
        ]
    return found


def _network(plugin: str, folder: pathlib.Path, **keys: object) -> Mapping[str, object]:
    ipam = {**_IPAM, "dataDir": str(folder / "leases")}
    return {"cniVersion": "1.0.0", "name": "bench", "type": plugin, "ipam": ipam, **keys}
