"""Frames between shim and daemon, in one place. Pure: bytes to values and back.

A frame is one byte of kind, four bytes of length (big endian), and the payload. In order:

    shim → daemon   E  the CNI_* environment, KEY=VALUE, separated by NUL; the namespace's descriptor comes with it
    shim → daemon   S  stdin as received
    daemon → shim   I  run an IPAM plugin: CNI_COMMAND, NUL, the plugin's name; for a call of its own further: NUL, each
                       variable as KEY=VALUE and NUL, another NUL, and the plugin's stdin
    shim → daemon   I  its outcome: one byte of exit status, then its stdout; 127 if it is not on CNI_PATH
    daemon → shim   A  the answer: one byte of exit status, then what goes to stdout
    shim → daemon   D  whether it could be printed: one byte, 1 or 0
    daemon → shim   W  withdrawn: the attachment was ended before D came; the shim exits as after a failure

There may be no I, or several. After D the daemon may send another I, to undo what the runtime did not learn; or it may
send W. Then it hangs up, and the shim exits. So the runtime continues only after the daemon has released the namespace.

The daemon waits for D as long as the connection is open. It takes back what it attached if the connection is closed,
which only the shim's end causes, or if D is 0. The shim succeeds only if the daemon hangs up after D: not if the daemon
is gone before it has read D (the kernel returns EPIPE or ECONNRESET then: net/unix/af_unix.c, unix_release_sock), nor
if it wants a plugin run although D was 1, as a daemon without W does that had given up.

Usually a plugin has the runtime's variables and stdin. A call of its own has other stdin, and its variables, which
begin with CNI_, in the place of the runtime's, in this run alone: so one ADD has addresses for several interfaces. A
shim that does not know this refuses it and ends; it is sent only for networks with `claims`, which are as new.
"""

import dataclasses
from collections.abc import Mapping

ENVIRONMENT = b"E"
STDIN = b"S"
IPAM = b"I"
ANSWER = b"A"
DELIVERED = b"D"
WITHDRAWN = b"W"

HEAD = 5
STDIN_LIMIT = 1 << 20
LONGEST = 4 * STDIN_LIMIT
NO_PLUGIN = 127


Environment = Mapping[str, str]


class WireError(Exception):
    """The other side violates the protocol. The connection is of no more use."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of an IPAM plugin: its exit status, 255 for a signal, and its stdout."""

    status: int
    stdout: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class OwnCall:
    """Call of an IPAM plugin that is not the runtime's: CNI_ variables in the place of its, and stdin."""

    variables: Environment
    stdin: bytes


def frame(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


def head(data: bytes) -> tuple[bytes, int]:
    """Return kind and payload length from the five bytes that begin a frame."""
    kind, length = data[:1], int.from_bytes(data[1:HEAD], "big")
    if kind not in (ENVIRONMENT, STDIN, IPAM, ANSWER, DELIVERED, WITHDRAWN) or length > LONGEST:
        raise WireError(f"a frame of kind {kind!r} with {length} bytes")
    return kind, length


def environment(payload: bytes) -> Environment:
    """Return the variables; bytes that are not UTF-8 survive as surrogates and fail validation later."""
    pairs = (each.partition(b"=") for each in payload.split(b"\0") if each)
    return {key.decode(errors="surrogateescape"): value.decode(errors="surrogateescape") for key, _, value in pairs}


def ipam_request(command: str, plugin: str, own: OwnCall | None = None) -> bytes:
    named = command.encode() + b"\0" + plugin.encode()
    if own is None:
        return frame(IPAM, named)
    variables = b"".join(b"\0" + f"{key}={value}".encode() for key, value in own.variables.items())
    return frame(IPAM, named + variables + b"\0\0" + own.stdin)


def outcome(payload: bytes) -> Outcome:
    if not payload:
        raise WireError("an IPAM outcome without its exit status")
    return Outcome(payload[0], payload[1:])


def answer(status: int, stdout: bytes) -> bytes:
    return frame(ANSWER, bytes((status,)) + stdout)
