"""Job of a guest: one command, its folder and environment, and the number of VFs.

Turned into the files that the guest's init reads (see `init`). Pure, except for reading the parts.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.guest import initramfs
from hack.guest.downloads import parts

ROOT_MODULES = ("9pnet_virtio", "9p", "overlay")
NIC_MODULES = ("igb", "igbvf")
NETWORK_MODULES = ("virtio_net",)


@dataclass(frozen=True)
class Job:
    """`command` runs as root in folder `cwd`; `out` is the folder of this machine it may write to.

    `simulator` is a netdevsim module to be loaded, with what it needs. With `terminal` the command has a terminal. With
    `network` the card to the machine's network is set up as `outside`.
    """

    command: Sequence[str]
    cwd: Path
    environment: Mapping[str, str]
    out: Path | None = None
    numvfs: int = 7
    simulator: Path | None = None
    terminal: bool = False
    network: bool = False


def initrd(job: Job, have: parts.Parts) -> bytes:
    """Return the initramfs that boots into the job."""
    table = (have.modules / "modules.dep").read_text()
    wanted = (ROOT_MODULES, NIC_MODULES, NETWORK_MODULES if job.network else ())
    root, nic, network = (initramfs.load_order(table, each) for each in wanted)
    modules = {_file(path): initramfs.unpacked(have.modules / path) for path in (*root, *nic, *network)}
    simulator = _simulator(job, have, table)
    settings = {
        "root_modules": " ".join(map(_file, root)),
        "nic_modules": " ".join(map(_file, nic)),
        "network_modules": " ".join(map(_file, network)),
        "simulator_modules": " ".join(simulator),
        "modules": str(have.modules.parent),
        "numvfs": str(job.numvfs),
        "out": str(job.out or ""),
        "terminal": "/dev/hvc0" if job.terminal else "",
    }
    return initramfs.archive(
        [
            ("init", Path(__file__).with_name("init").read_bytes()),
            ("bin/busybox", have.busybox.read_bytes()),
            ("job/settings", "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()).encode()),
            ("job/command", script(job).encode()),
            *((f"job/{name}", body) for name, body in (modules | simulator).items()),
        ]
    )


def _simulator(job: Job, have: parts.Parts, table: str) -> dict[str, bytes]:
    """Return netdevsim and its dependencies, in load order; nothing if the job does not use it."""
    if job.simulator is None:
        return {}
    body = job.simulator.read_bytes()
    needed = initramfs.load_order(table, initramfs.needs(body))
    return {_file(path): initramfs.unpacked(have.modules / path) for path in needed} | {job.simulator.name: body}


def script(job: Job) -> str:
    """Return the command as a shell script, with only PATH of the guest's own environment."""
    environment = {"HOME": "/root", "LANG": "C.UTF-8", "SRIOV_LAB": "guest", **job.environment}
    if job.out:
        environment["LAB_OUT"] = str(job.out)
    words = [f"{name}={value}" for name, value in environment.items()]
    return f'cd {shlex.quote(str(job.cwd))} && exec env -i PATH="$PATH" {shlex.join([*words, *job.command])}\n'


def _file(path: str) -> str:
    return f"{initramfs.module_name(path)}.ko"
