"""Summaries of one call: the fields of its log lines, and the outcome that is kept in the log of recent calls. Pure.

Values are taken by name, so that nothing else of the environment, of stdin or of a result gets there.
"""

from collections.abc import Mapping

import msgspec

from sriov.state import call_log
from sriov_cni.shim import wire
from sriov_cni.spec import environment, netconf

_LONGEST = 2000  # characters of a message: an IPAM plugin may print anything


class _Interface(msgspec.Struct, frozen=True):
    pci_id: str = msgspec.field(default="", name="pciID")


class _Answer(msgspec.Struct, frozen=True):
    """An error, or a result of which only the device counts."""

    code: int = 0
    msg: str = ""
    details: str = ""
    interfaces: tuple[_Interface, ...] = ()


_ANSWER = msgspec.json.Decoder(_Answer)


def log_fields(env: wire.Environment, args: environment.Arguments) -> dict[str, str]:
    """Return the fields, also of a call whose environment is invalid: what cannot be read is left out."""
    found = {
        "command": env.get("CNI_COMMAND", ""),
        "namespace": args.namespace,
        "pod": args.pod,
        "container_id": env.get("CNI_CONTAINERID", ""),
        "interface": env.get("CNI_IFNAME", ""),
    }
    return {key: value for key, value in found.items() if value}


def outcome(
    facts: Mapping[str, str], document: netconf.Document, answer: bytes, seconds: float, at: float
) -> call_log.CallOutcome | None:
    """What to keep of a call whose answer is this frame; None for one that explains nothing.

    `facts` are the call's log_fields(). Runtimes call STATUS and VERSION all the time, and a CHECK that finds nothing
    is no news.
    """
    command = facts.get("command", "")
    told = _decoded(answer[wire.HEAD + 1 :])
    if command not in ("ADD", "DEL", "GC", "CHECK") or (command == "CHECK" and not told.code):
        return None
    attached = next((each.pci_id for each in told.interfaces if each.pci_id), "")
    return call_log.CallOutcome(
        at=at,
        command=command,
        container_id=facts.get("container_id", ""),
        ifname=facts.get("interface", ""),
        namespace=facts.get("namespace", ""),
        pod=facts.get("pod", ""),
        network=_text(document.name),
        device=_text(document.device_id) or attached,
        ms=round(seconds * 1000, 1),
        code=told.code,
        message=told.msg[:_LONGEST],
        details=told.details[:_LONGEST],
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _decoded(data: bytes) -> _Answer:
    try:
        return _ANSWER.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _Answer()
