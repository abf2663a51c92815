"""Dispatch of CNI commands by name; failures of the layers below become CNI errors."""

import msgspec

from sriov import errors
from sriov_cni.commands import add, check, delete
from sriov_cni.context.calls import Call, Daemon, log
from sriov_cni.spec import cni_errors, environment, netconf


async def run(daemon: Daemon, call: Call) -> bytes:
    """Carry a call out; returns what goes to stdout. Raises CniError and no other error of ours."""
    try:
        return await _COMMANDS[call.invocation.command](daemon, call)
    except errors.SriovError as error:
        raise cni_errors.from_sriov(error) from error


async def give_up(daemon: Daemon, call: Call) -> None:
    """Undo an ADD whose runtime is gone and will not learn of its success: take the VF and its address back.

    If the attachment has been ended meanwhile there is nothing to undo, or another ADD's attachment, which stays.
    """
    try:
        await delete.take_back(daemon, call)
    except (errors.SriovError, cni_errors.CniError) as error:
        log.error("%s could not be taken back, its DEL will do that: %s", call.invocation.container_id, error)


async def _version(_: Daemon, call: Call) -> bytes:
    answer = {"cniVersion": netconf.version(call.document), "supportedVersions": netconf.VERSIONS}
    return msgspec.json.encode(answer) + b"\n"


_COMMANDS = {
    environment.Command.ADD: add.add,
    environment.Command.DEL: delete.delete,
    environment.Command.CHECK: check.check,
    environment.Command.GC: delete.collect,
    environment.Command.STATUS: check.status,
    environment.Command.VERSION: _version,
}
