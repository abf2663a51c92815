"""Frames of the policies' table, how large it may be, and the daemon's requests for a pod. Pure."""

import msgspec

from sriov import errors
from sriov.cluster import framing, policies, policy_changes

MOST_BYTES = 8 << 20
"""Of a frame: a whole table of as many addresses as are taken takes 5 MB."""
MOST_SETS = 1 << 14
MOST_ADDRESSES = 1 << 18
"""Of all sets together: libnftables takes 2.5 kB of memory for one while it loads them."""
MOST_GRANTS = 1 << 14
MOST_PLACES = 1 << 13
"""Pods of the node, once for each of their networks with rules."""
MOST_REQUEST = 1024  # bytes: two names of at most 253

_CHANGE = msgspec.msgpack.Decoder(policies.PolicyChange)
FORMAT = framing.FrameFormat("policies", policies.PolicyChange(), _CHANGE, policy_changes.check, MOST_BYTES)


class PodRequest(msgspec.Struct, frozen=True):
    """From the daemon to the agent: this pod is starting here, and is not in the table, or only a former one is."""

    namespace: str
    name: str


_REQUEST = msgspec.msgpack.Decoder(PodRequest)
_encode = msgspec.msgpack.Encoder().encode


def usage(table: policies.PolicyTable) -> dict[str, tuple[int, int]]:
    """Return how many of each the table has, and how many a node takes."""
    return {
        "sets": (len(table.sets), MOST_SETS),
        "addresses": (sum(map(len, table.sets.values())), MOST_ADDRESSES),
        "grants": (len(table.grants), MOST_GRANTS),
        "pods and networks": (len(table.rules), MOST_PLACES),
    }


def fitting(table: policies.PolicyTable) -> None:
    """Raises SriovError if the table is larger than a node takes, or names what it does not have."""
    for what, (count, most) in usage(table).items():
        if count > most:
            raise errors.SriovError(
                f"table of policies: {count} {what} are too many",
                f"a node takes {most}: have policies that select less",
            )
    policy_changes.check_names(table)


def request(namespace: str, name: str) -> bytes:
    """Return the frame of a request."""
    body = _encode(PodRequest(namespace, name))
    return framing.HEAD.pack(len(body)) + body


def request_length(head: bytes) -> int:
    """Return how many bytes follow. Raises SriovError."""
    size: int = framing.HEAD.unpack(head)[0]
    if not 0 < size <= MOST_REQUEST:
        raise _wrong(f"{size} bytes, where 1 to {MOST_REQUEST} are taken")
    return size


def requested(body: bytes) -> PodRequest:
    """Return the request. Raises SriovError for one that names no pod."""
    try:
        found = _REQUEST.decode(body)
    except msgspec.DecodeError as error:
        raise _wrong(str(error)) from error
    if not (policy_changes.is_object_name(found.namespace) and policy_changes.is_object_name(found.name)):
        raise _wrong(f"{found.namespace!r}, {found.name!r} are no namespace and pod")
    return found


def _wrong(why: str) -> errors.SriovError:
    return errors.SriovError(f"the CNI daemon asks for no pod: {why}", "is it of another release?")
