"""Dispatch of CNI commands by name; failures of the layers below become CNI errors."""

from collections.abc import Awaitable, Callable

import msgspec

from sriov import errors
from sriov_cni.commands import add, check, delete
from sriov_cni.context import claims
from sriov_cni.context.calls import Call, Daemon
from sriov_cni.spec import cni_errors, environment, netconf


async def run(daemon: Daemon, call: Call) -> bytes:
    """Carry a call out; returns what goes to stdout. Raises CniError and no other error of ours."""
    try:
        return await _command(daemon, call)(daemon, call)
    except errors.SriovError as error:
        raise cni_errors.from_sriov(error) from error


async def give_up(daemon: Daemon, call: Call) -> None:
    """Undo an ADD whose runtime is gone and will not learn of its success: take the VF and its address back.

    If the attachment has been ended meanwhile there is nothing to undo, or another ADD's attachment, which stays.
    """
    for attachment in reversed(call.attachments):
        await delete.give_up(daemon, attachment)


def _command(daemon: Daemon, call: Call) -> "_Command":
    """Return what carries the call out. The configuration may be another than when devices of claims were attached."""
    if daemon.claims is not None and (call.document.claims or _was_by_claims(daemon.claims, call)):
        from sriov_cni.commands.claimed import claim_commands  # noqa: PLC0415  # a node without claims does not need it

        return {**_COMMANDS, **claim_commands.COMMANDS}[call.invocation.command]
    return _COMMANDS[call.invocation.command]


def _was_by_claims(known: claims.PodClaims, call: Call) -> bool:
    if call.invocation.command is environment.Command.GC:
        return bool(known.calls.all())
    return call.invocation.command in _OF_WHAT_IS_THERE and known.calls.has(*call.key)


_Command = Callable[[Daemon, Call], Awaitable[bytes]]


async def _version(_: Daemon, call: Call) -> bytes:
    answer = {"cniVersion": netconf.version(call.document), "supportedVersions": netconf.VERSIONS}
    return msgspec.json.encode(answer) + b"\n"


_OF_WHAT_IS_THERE = frozenset({environment.Command.DEL, environment.Command.CHECK})
_COMMANDS = {
    environment.Command.ADD: add.add,
    environment.Command.DEL: delete.delete,
    environment.Command.CHECK: check.check,
    environment.Command.GC: delete.collect,
    environment.Command.STATUS: check.status,
    environment.Command.VERSION: _version,
}
