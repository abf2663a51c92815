"""Which devices the kubelet has given to pods, from the file that it keeps of that beside its socket. Reads only.

Format: pkg/kubelet/cm/devicemanager/checkpoint/checkpoint.go, the same since Kubernetes 1.20; before, DeviceIDs was a
list. The kubelet writes it after each Allocate, before the container starts, and lets a pod that has ended stay in it
until the next one: so a device that is in there may be free, but one that is not is no pod's.
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
"""The resources, by full name, as which a device has been given, by its ID."""


def read(path: pathlib.Path) -> Given | None:
    """None where there is no such file to be read, or another format: then nothing is known."""
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
