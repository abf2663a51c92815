"""Summaries of one call: the fields of its log lines, and the outcome that is kept in the log of recent calls. Pure.

Values are taken by name, so that nothing else of the environment, of stdin or of a result gets there.
"""

from typing import Any, TypeVar

import msgspec

from sriov.state import call_log
from sriov_cni.shim import wire

_T = TypeVar("_T")
_TEXT = 2000  # characters of a message: an IPAM plugin may print anything


class _Network(msgspec.Struct, frozen=True):
    name: Any = ""
    device_id: Any = msgspec.field(default="", name="deviceID")


class _Interface(msgspec.Struct, frozen=True):
    pci_id: str = msgspec.field(default="", name="pciID")


class _Answer(msgspec.Struct, frozen=True):
    """An error, or a result of which only the device counts."""

    code: int = 0
    msg: str = ""
    details: str = ""
    interfaces: tuple[_Interface, ...] = ()


_NETWORK = msgspec.json.Decoder(_Network)
_ANSWER = msgspec.json.Decoder(_Answer)


def log_fields(env: wire.Environment) -> dict[str, str]:
    """Also of a call whose environment is invalid: what cannot be read is left out."""
    given = _arguments(env)
    found = {
        "command": env.get("CNI_COMMAND", ""),
        "namespace": given.get("K8S_POD_NAMESPACE", ""),
        "pod": given.get("K8S_POD_NAME", ""),
        "container_id": env.get("CNI_CONTAINERID", ""),
        "interface": env.get("CNI_IFNAME", ""),
    }
    return {key: value for key, value in found.items() if value}


def outcome(
    env: wire.Environment, stdin: bytes, answer: bytes, seconds: float, at: float
) -> call_log.CallOutcome | None:
    """What to keep of a call whose answer is this frame; None for one that explains nothing.

    Runtimes call STATUS and VERSION all the time, and a CHECK that finds nothing is no news.
    """
    command = env.get("CNI_COMMAND", "")
    told = _decoded(answer[wire.HEAD + 1 :], _ANSWER) or _Answer()
    if command not in ("ADD", "DEL", "GC", "CHECK") or (command == "CHECK" and not told.code):
        return None
    network = _decoded(stdin, _NETWORK) or _Network()
    arguments = _arguments(env)
    attached = next((each.pci_id for each in told.interfaces if each.pci_id), "")
    return call_log.CallOutcome(
        at=at,
        command=command,
        container_id=env.get("CNI_CONTAINERID", ""),
        ifname=env.get("CNI_IFNAME", ""),
        namespace=arguments.get("K8S_POD_NAMESPACE", ""),
        pod=arguments.get("K8S_POD_NAME", ""),
        network=network.name if isinstance(network.name, str) else "",
        device=network.device_id if isinstance(network.device_id, str) and network.device_id else attached,
        ms=round(seconds * 1000, 1),
        code=told.code,
        message=told.msg[:_TEXT],
        details=told.details[:_TEXT],
    )


def _arguments(env: wire.Environment) -> dict[str, str]:
    """CNI_ARGS, `key=value` pairs between semicolons; what is no pair is left out."""
    pairs = (pair.partition("=") for pair in env.get("CNI_ARGS", "").split(";"))
    return {key: value for key, equals, value in pairs if equals}


def _decoded(data: bytes, decoder: msgspec.json.Decoder[_T]) -> _T | None:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
