"""What the last calls came to, in a file of the run directory, so that somebody who asks later can be told why.

For `sriovctl explain`: a runtime's log says the same, but the node's operator may not have it, and it is not kept by
pod. Written after the shim has hung up, so that no pod waits for it; at most two times _KEEP lines. What cannot be
written down is not: a full disk costs a call nothing. Never read by the daemon, and nothing depends on it.
"""

import logging
import pathlib
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from sriov_cni import wire

_log = logging.getLogger(__name__)
_KEEP = 256  # calls; then the file becomes the older one, and the older one is gone
_T = TypeVar("_T")
_TEXT = 2000  # characters of a message: an IPAM plugin may print anything


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `at` is in seconds since 1970, `ms` how long it took; `code` 0 is success. Of stdin only names."""

    at: float
    command: str
    container_id: str = ""
    ifname: str = ""
    namespace: str = ""
    pod: str = ""
    network: str = ""
    device: str = ""
    ms: float = 0.0
    code: int = 0
    message: str = ""
    details: str = ""


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


_OUTCOME = msgspec.json.Decoder(Outcome)
_NETWORK = msgspec.json.Decoder(_Network)
_ANSWER = msgspec.json.Decoder(_Answer)


def outcome(env: wire.Environment, stdin: bytes, answer: bytes, seconds: float, at: float) -> Outcome | None:
    """What to remember of a call whose answer is this frame; None of one that tells nothing. Pure.

    Runtimes ask for STATUS and VERSION all the time, and a CHECK that finds nothing is no news.
    """
    command = env.get("CNI_COMMAND", "")
    told = _decoded(answer[wire.HEAD + 1 :], _ANSWER) or _Answer()
    if command not in ("ADD", "DEL", "GC", "CHECK") or (command == "CHECK" and not told.code):
        return None
    network = _decoded(stdin, _NETWORK) or _Network()
    arguments = dict(pair.split("=", 1) for pair in env.get("CNI_ARGS", "").split(";") if "=" in pair)
    found = next((each.pci_id for each in told.interfaces if each.pci_id), "")
    return Outcome(
        at=at,
        command=command,
        container_id=env.get("CNI_CONTAINERID", ""),
        ifname=env.get("CNI_IFNAME", ""),
        namespace=arguments.get("K8S_POD_NAMESPACE", ""),
        pod=arguments.get("K8S_POD_NAME", ""),
        network=network.name if isinstance(network.name, str) else "",
        device=network.device_id if isinstance(network.device_id, str) and network.device_id else found,
        ms=round(seconds * 1000, 1),
        code=told.code,
        message=told.msg[:_TEXT],
        details=told.details[:_TEXT],
    )


class Recent:
    """The file `recent.jsonl` of the run directory, and the one before it. One process writes."""

    def __init__(self, run_dir: pathlib.Path, keep: int = _KEEP) -> None:
        self._path = run_dir / "recent.jsonl"
        self._older = run_dir / "recent.1.jsonl"
        self._keep = keep
        self._lines: int | None = None  # until it is known; another daemon may write still

    def note(self, env: Mapping[str, str], stdin: bytes, answer: bytes, seconds: float) -> None:
        """Write the call down. Never raises."""
        try:
            one = outcome(env, stdin, answer, seconds, time.time())
            if one is not None:
                self._append(msgspec.json.encode(one))
        except (
            OSError,
            ValueError,
            msgspec.MsgspecError,
        ) as error:  # ValueError: surrogates of bytes that are no UTF-8
            _log.debug("the call is not written down: %s", error)

    def read(self) -> tuple[Outcome, ...]:
        """What there is, oldest first. A damaged line is as none."""
        found = (_decoded(line, _OUTCOME) for path in (self._older, self._path) for line in _lines(path))
        return tuple(one for one in found if one is not None)

    def _append(self, line: bytes) -> None:
        if self._lines is None:
            self._lines = len(_lines(self._path))
        if self._lines >= self._keep:
            self._path.replace(self._older)
            self._lines = 0
        with self._path.open("ab") as file:
            self._path.chmod(0o600)
            file.write(line + b"\n")
        self._lines += 1


def _lines(path: pathlib.Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError:
        return []


def _decoded(data: bytes, decoder: msgspec.json.Decoder[_T]) -> _T | None:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
