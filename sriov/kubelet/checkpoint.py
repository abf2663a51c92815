"""Checkpoint of the kubelet: the file beside its socket with the devices that it has given to pods. Reads only.

Format: pkg/kubelet/cm/devicemanager/checkpoint/checkpoint.go, the same since Kubernetes 1.20; before, DeviceIDs was a
list. The kubelet writes it after each Allocate, before the container starts, and keeps a pod that has ended in it until
the next one. So a device in the file may be free, but a device that is not in it is in no pod.
"""

import pathlib

import msgspec

NAME = "kubelet_internal_checkpoint"


class _Entry(msgspec.Struct, rename="pascal"):
    resource_name: str
    device_ids: dict[str, list[str] | None] | list[str] | None = msgspec.field(default=None, name="DeviceIDs")


class _Entries(msgspec.Struct, rename="pascal"):
    pod_device_entries: list[_Entry] | None = None


class _File(msgspec.Struct, rename="pascal"):
    data: _Entries


_FILE = msgspec.json.Decoder(_File)

Given = dict[str, frozenset[str]]
"""Device ID to the resources, by full name, as which the device has been given."""


def read(path: pathlib.Path) -> Given | None:
    """Read the file; None if it cannot be read or has another format: then nothing is known."""
    try:
        file = _FILE.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    found: dict[str, set[str]] = {}
    for entry in file.data.pod_device_entries or ():
        for device in _devices(entry):
            found.setdefault(device, set()).add(entry.resource_name)
    return {device: frozenset(names) for device, names in found.items()}


def _devices(entry: _Entry) -> list[str]:
    if isinstance(entry.device_ids, dict):
        return [device for listed in entry.device_ids.values() for device in listed or ()]
    return entry.device_ids or []
