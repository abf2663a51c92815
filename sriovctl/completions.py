"""Completion of what is on this node: devices, PFs, pods and resources. What cannot be read completes to nothing."""

import logging
from collections.abc import Callable, Collection

import click
import click.shell_completion
import msgspec

from sriov import errors
from sriov.hardware import node_devices
from sriovctl import names, paths
from sriovctl.node import snapshot

_Complete = Callable[[click.Context, click.Parameter, str], list[click.shell_completion.CompletionItem]]


def _of(candidates: Callable[[snapshot.Survey], Collection[str]]) -> _Complete:
    def complete(
        context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        logging.disable()  # a line of a log is no candidate
        try:
            found = candidates(snapshot.take(_places(context)))
        except errors.SriovError:
            return []
        return [click.shell_completion.CompletionItem(each) for each in sorted(found) if each.startswith(incomplete)]

    return complete


def _places(context: click.Context) -> paths.Places:
    """Return the places on the line that is being typed: the program itself has not run."""
    given = context.find_root().params
    fields = {field.name for field in msgspec.structs.fields(paths.Places)}
    return paths.Places(**{name: value for name, value in given.items() if name in fields and value is not None})


def _vfs(seen: snapshot.Survey) -> set[str]:
    return {one.id for one in seen.catalog.candidates.values() if one.role is node_devices.Role.VF}


def _pfs(seen: snapshot.Survey) -> set[str]:
    pfs = (one for one in seen.catalog.candidates.values() if one.role is node_devices.Role.PF)
    return {name for one in pfs for name in (one.id, *one.netdevs)}


pods = _of(names.pods)
held = _of(lambda seen: seen.held)
pods_and_vfs = _of(lambda seen: names.pods(seen) | _vfs(seen))
pfs = _of(_pfs)
pools = _of(lambda seen: [pool.resource for pool in seen.dealt])
