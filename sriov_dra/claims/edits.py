"""Container Device Interface: the spec file of one claim, with one device for each of its requests. Pure.

A container that names a request gets that request's device: nodes, variables and the metadata file. The variables are
those of the device plugin, by resource, so that two requests of one resource are joined in each. Every container gets
the hook, once: it is the spec's.
"""

import json
from collections.abc import Mapping, Sequence

import msgspec

from sriov.pools import assignment, cdi, device_nodes

_CLASS = "claim"
_HOOK_SECONDS = 10  # it takes less than a millisecond; the container fails when they are over


class PreparedDevice(msgspec.Struct, frozen=True):
    """A device of the claim, with the pool that has it; the requests as in `reading.GivenDevice`."""

    request: str
    full_request: str
    pool_name: str
    name: str
    device: assignment.Device
    pool: assignment.Pool


class Mount(msgspec.Struct, frozen=True):
    """A file of the host that the container sees, read-only."""

    host: str
    container: str


class Hook(msgspec.Struct, frozen=True):
    """Program of the host that the runtime runs before the container's starts; `arguments` without its name."""

    path: str
    arguments: tuple[str, ...] = ()


def kind(driver: str) -> str:
    return f"{driver}/{_CLASS}"


def file_name(driver: str, uid: str) -> str:
    return f"{driver}-{_CLASS}-{uid}.json"


def uid_of(driver: str, name: str) -> str | None:
    """Return the claim whose spec has this file name; None for others' files."""
    before = f"{driver}-{_CLASS}-"
    ours = name.startswith(before) and name.endswith(".json")
    return name.removeprefix(before).removesuffix(".json") if ours else None


def qualified_name(driver: str, uid: str, request: str) -> str:
    """Return the name by which the runtime finds a request's device."""
    return f"{kind(driver)}={_device_name(uid, request)}"


def spec(
    driver: str,
    uid: str,
    devices: Sequence[PreparedDevice],
    mounts: Mapping[str, Sequence[Mount]],
    hook: Hook | None = None,
) -> bytes:
    """Encode the claim's spec; `mounts` are by request."""
    variables = {pool.resource: _variables(pool, devices) for pool in (each.pool for each in devices)}
    requests = dict.fromkeys(each.request for each in devices)
    listed = [
        {
            "name": _device_name(uid, request),
            "containerEdits": _edits([one for one in devices if one.request == request], variables, mounts[request]),
        }
        for request in requests
    ]
    found = {"cdiVersion": cdi.VERSION, "kind": kind(driver), "devices": listed}
    return json.dumps(found if hook is None else {**found, "containerEdits": {"hooks": [_hook(hook)]}}).encode()


def _hook(hook: Hook) -> dict[str, object]:
    """Encode it for createRuntime, which runs in the host's namespaces, as root also for pods with a user namespace."""
    path, seconds = hook.path, _HOOK_SECONDS
    return {"hookName": "createRuntime", "path": path, "args": [path, *hook.arguments], "timeout": seconds}


def _device_name(uid: str, request: str) -> str:
    return f"{uid}-{request}"


def _variables(pool: assignment.Pool, devices: Sequence[PreparedDevice]) -> dict[str, str]:
    """Return the variables of a resource: with every device of it that the claim has."""
    chosen = [each.device for each in devices if each.pool.resource == pool.resource]
    return device_nodes.environment(pool.settings, chosen, pool.shared)


def _edits(
    devices: Sequence[PreparedDevice], variables: Mapping[str, Mapping[str, str]], mounts: Sequence[Mount]
) -> dict[str, object]:
    nodes = {node.host: node for each in devices for node in device_nodes.nodes(each.device, each.pool.shared)}
    resources = dict.fromkeys(each.pool.resource for each in devices)
    edits: dict[str, object] = {
        "env": [f"{name}={value}" for resource in resources for name, value in variables[resource].items()]
    }
    if nodes:
        edits["deviceNodes"] = [
            {"path": node.container, "hostPath": node.host, "permissions": "rw"} for node in nodes.values()
        ]
    if mounts:
        edits["mounts"] = [
            {"hostPath": each.host, "containerPath": each.container, "options": ["ro", "bind"]} for each in mounts
        ]
    return edits
