"""The CNI commands by name, and what every one of them has: failures of the layers below become CNI errors."""

import msgspec

from sriov import errors
from sriov_cni import adding, checking, conf, failure, releasing, skel
from sriov_cni.calls import Call, Daemon, log


async def run(daemon: Daemon, call: Call) -> bytes:
    """Carry a call out; what goes to stdout. Raises CniError and no other error of ours."""
    try:
        return await _COMMANDS[call.invocation.command](daemon, call)
    except errors.SriovError as error:
        raise failure.from_sriov(error) from error


async def give_up(daemon: Daemon, call: Call) -> None:
    """The runtime is gone and will not learn that its ADD succeeded: take the VF and its address back.

    Where the attachment has been ended meanwhile there is nothing to take back, or something that another ADD made.
    """
    try:
        await releasing.take_back(daemon, call)
    except (errors.SriovError, failure.CniError) as error:
        log.error("%s is left to be cleaned up by its DEL: %s", call.invocation.container_id, error)


async def _version(_: Daemon, call: Call) -> bytes:
    answer = {"cniVersion": conf.version(call.stdin), "supportedVersions": conf.VERSIONS}
    return msgspec.json.encode(answer) + b"\n"


_COMMANDS = {
    skel.Command.ADD: adding.add,
    skel.Command.DEL: releasing.delete,
    skel.Command.CHECK: checking.check,
    skel.Command.GC: releasing.collect,
    skel.Command.STATUS: checking.status,
    skel.Command.VERSION: _version,
}
