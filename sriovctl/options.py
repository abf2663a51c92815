"""Options shared by several commands. A command module adds them as decorators and gets values, never strings."""

import itertools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from sriovctl import output, paths

_F = TypeVar("_F", bound=Callable[..., Any])

pass_places = click.make_pass_decorator(paths.Places)
"""Gives a command the node's places as its first argument."""

ENTER = "sriovctl.enter"
pass_enter = click.decorators.pass_meta_key(ENTER, doc_description="the way into a pod's namespace")
"""Gives a command what enters a pod's namespace (node.policies.standing.Enter) as its next argument."""

# By field of paths.Places: the flags, of which the first is the daemons' own, and what is found there.
_PLACES = {
    "prefix": (("--resource-prefix", "--prefix"), "prefix of resources that state none in config.json"),
    "sysfs": (("--sysfs",), "where the hardware is read"),
    "proc": (("--procfs", "--proc"), "where routes, addresses and the kernel's settings are read"),
    "dev": (("--dev",), "where device nodes are looked for"),
    "etc": (("--etc",), "where the configuration of NetworkManager, networkd and udev is"),
    "boot": (("--boot",), "where the kernel's own configuration is"),
    "run": (("--run",), "where running services show themselves"),
    "run_dir": (("--run-dir",), "the CNI daemon's run directory: ledger, socket, recent calls"),
    "config": (("--config-file", "--config"), "the device plugin's config.json"),
    "policy": (("--policy",), "the node's policy"),
    "policies": (("--policy-snapshot",), "the CNI daemon's table of network policies"),
    "predecessor": (("--predecessor-dir",), "records of pods that sriov-cni attached"),
    "kubelet": (("--kubelet-root-dir", "--kubelet"), "the kubelet's root directory"),
    "cni_bin": (("--cni-bin-dir", "--cni-bin"), "where the runtime looks for CNI plugins"),
    "cni_conf": (("--cni-conf-dir", "--cni-conf"), "where the runtime looks for network configurations"),
    "image": (("--image",), "a file of the container image alone: where it is, only what is mounted is the node's"),
}
_OF_PLACES = frozenset(flag for flags, _ in _PLACES.values() for flag in flags)
_OF_COMMANDS = frozenset({"-o", "--output"})


def of_places(function: _F) -> _F:
    """Add the options for the node's paths to the program itself. Each may be a variable too; nothing else may."""
    usual = paths.Places()
    for name, (flags, text) in reversed(_PLACES.items()):
        default = getattr(usual, name)
        kind = click.Path(path_type=pathlib.Path, readable=False) if isinstance(default, pathlib.Path) else str
        function = click.option(
            *flags, name, type=kind, default=default, envvar=variables(flags), help=text, show_default=True
        )(function)
    return function


def variables(flags: Sequence[str]) -> list[str]:
    """Return the variables that say the same as these flags."""
    return [f"SRIOVCTL_{flag.removeprefix('--').replace('-', '_').upper()}" for flag in flags]


def in_order(arguments: Sequence[str]) -> list[str]:
    """Put the options of paths before the command, and `--output` behind it, wherever they were written."""
    left = iter(arguments)
    places: list[str] = []
    rest: list[str] = []
    waiting: list[str] = []
    for each in left:
        flag, equals, _ = each.partition("=")
        if each == "--":
            return [*places, *rest, *waiting, each, *left]
        if flag in _OF_PLACES or (flag in _OF_COMMANDS and not rest):
            found = [each] if equals else [each, *itertools.islice(left, 1)]
            (places if flag in _OF_PLACES else waiting).extend(found)
        else:
            rest.append(each)
            if not each.startswith("-"):
                rest, waiting = [*rest, *waiting], []
    return [*places, *rest, *waiting]


def output_option(function: _F) -> _F:
    """`--output table|wide|json|yaml`; the command gets an output.OutputFormat as `form`."""
    choice = click.Choice([each.value for each in output.OutputFormat])
    return click.option(
        "-o",
        "--output",
        "form",
        type=choice,
        default=output.OutputFormat.TABLE.value,
        show_default=True,
        callback=lambda _context, _option, value: output.OutputFormat(value),
        help="table and wide are for people; json and yaml are for programs and stay as documented.",
    )(function)
