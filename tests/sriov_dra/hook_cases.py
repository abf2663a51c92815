"""Calls of the claim hook as a container runtime makes them."""

import json
import os
import pathlib
import subprocess

from sriov import devices, settings
from sriov.state import ledger

VF, OTHER = devices.PciAddress("0000:01:10.0"), devices.PciAddress("0000:01:10.2")
CLAIM = "ml/rails"


def record(vf: devices.PciAddress, netns: tuple[int, int]) -> ledger.Record:
    """Return what the CNI daemon writes of an attachment to the namespace."""
    owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns="", namespace="ml", pod="train-0")
    return ledger.Record(pci=vf, owner=owner, netns=netns, home=None, wanted=settings.BASELINE, mtu=1500)


def own_namespace() -> tuple[int, int]:
    found = pathlib.Path("/proc/self/ns/net").stat()
    return found.st_dev, found.st_ino


def state(pid: int | None = None, **other: object) -> str:
    """Return the container's state, whose process is this one."""
    return json.dumps({"ociVersion": "1.2.0", "id": "x", "status": "creating", "pid": pid or os.getpid(), **other})


def call(
    program: pathlib.Path, run_dir: pathlib.Path, told: str | bytes, *vfs: str
) -> subprocess.CompletedProcess[bytes]:
    command: list[str | pathlib.Path] = [program, run_dir / "vfs", CLAIM, *(vfs or (VF,))]
    return subprocess.run(
        command, input=told if isinstance(told, bytes) else told.encode(), capture_output=True, check=False
    )
