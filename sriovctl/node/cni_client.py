"""Client of the CNI daemon: whether it answers, and the one call that sriovctl makes.

It uses the shim's protocol with the shim's own functions, so that there is no second way into the daemon: a release is
done under the daemon's locks, by the daemon's code, or not at all.
"""

import contextlib
import os
import pathlib
from collections.abc import Mapping

import msgspec

from sriov import errors
from sriov.state import ledger
from sriov_cni.shim import shim, wire

_VERSION = "1.1.0"


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    msg: str = ""
    details: str = ""


_ERROR = msgspec.json.Decoder(_Error)


def trouble(socket: pathlib.Path) -> str | None:
    """Return why the daemon does not answer; None if it answers."""
    if not socket.exists():
        return f"there is no {socket}: it is not running, or --run-dir names another directory"
    try:
        call(socket, {"CNI_COMMAND": "VERSION"}, {"cniVersion": _VERSION})
    except errors.SriovError as error:
        return error.message
    return None


def delete(socket: pathlib.Path, owner: ledger.Owner, device: str) -> None:
    """Call DEL as a runtime does for a pod whose namespace is gone. No IPAM plugin is run.

    It takes back what this attachment holds and nothing else, even if the VF has another owner by now; of a pod's
    claims all that one call attached. Raises SriovError.
    """
    env = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": owner.container_id, "CNI_IFNAME": owner.within or owner.ifname}
    call(socket, env, {"cniVersion": _VERSION, "name": owner.network, "type": "sriov", "deviceID": device})


def call(socket: pathlib.Path, env: Mapping[str, str], network: Mapping[str, str]) -> bytes:
    """Make one call; returns what a runtime would read from stdout. Raises SriovError with the daemon's message."""
    encoded = {key.encode(): value.encode() for key, value in env.items()}
    try:
        with contextlib.closing(shim.connect(os.fsencode(socket), 0)) as connected:
            shim.send_call(connected, encoded, msgspec.json.encode(network))
            kind, payload = shim.receive(connected)
            while kind == wire.IPAM:  # of a claim that has an `ipam` of its own
                connected.sendall(wire.frame(wire.IPAM, b"\0"))
                kind, payload = shim.receive(connected)
            connected.sendall(wire.frame(wire.DELIVERED, b"\1"))
            with contextlib.suppress(EOFError, OSError):  # it hangs up when all is done
                shim.receive(connected)
    except (OSError, EOFError) as error:
        raise errors.BusyError(f"the CNI daemon at {socket} does not answer: {error}", "is it running?") from error
    if kind != wire.ANSWER or payload[:1] != b"\0":
        told = _ERROR.decode(payload[1:])
        raise errors.BusyError(f"the CNI daemon refused (code {told.code}): {told.msg}", told.details)
    return bytes(payload[1:])
