"""PCI addresses of NVIDIA's GPUs, by the ids that its device plugin gives them: a UUID or an index.

k8s-device-plugin's README, `deviceIDStrategy`; a GPU that pods share has `::` and a number behind its id. The driver
shows the UUID in /proc/driver/nvidia/gpus/ADDRESS/information. Indices are counted by PCI address, as nvidia-smi does
(CUDA C++ Programming Guide, CUDA_DEVICE_ORDER). A part of a GPU (MIG) has an id of its own, which no file tells.
"""

import pathlib
import re
from collections.abc import Mapping

from sriov.hardware import sysfs

_UUID = re.compile(r"^GPU UUID:\s*(GPU-[0-9a-f-]+)\s*$", re.MULTILINE)


def read(proc: pathlib.Path) -> Mapping[str, str]:
    """Return PCI addresses by UUID and by index; empty without NVIDIA's driver."""
    folder = proc / "driver/nvidia/gpus"
    found: dict[str, str] = {}
    for index, pci in enumerate(sysfs.names(folder)):
        found[str(index)] = pci
        if (uuid := _UUID.search(sysfs.text(folder / pci / "information") or "")) is not None:
            found[uuid[1]] = pci
    return found


def address(known: Mapping[str, str], device: str) -> str | None:
    """Return the PCI address of a device of the kubelet's report; None if its id is not one of these."""
    return known.get(device.partition("::")[0])
