"""Options shared by several commands. A command module adds them as decorators and gets values, never strings."""

import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import click

from sriovctl import output, paths

_F = TypeVar("_F", bound=Callable[..., Any])

pass_places = click.make_pass_decorator(paths.Places)
"""Gives a command the node's places as its first argument."""

_PLACES = (
    ("sysfs", "where the hardware is read"),
    ("proc", "where routes, addresses and the kernel's settings are read"),
    ("dev", "where device nodes are looked for"),
    ("etc", "where the configuration of NetworkManager, networkd and udev is"),
    ("boot", "where the kernel's own configuration is"),
    ("run", "where running services show themselves"),
    ("run_dir", "the CNI daemon's run directory: ledger, socket, recent calls"),
    ("config", "the device plugin's config.json"),
    ("policy", "the node's policy"),
    ("kubelet", "the kubelet's root directory"),
    ("cni_bin", "where the runtime looks for CNI plugins"),
    ("cni_conf", "where the runtime looks for network configurations"),
)


def of_places(function: _F) -> _F:
    """Add the options for the node's paths to the program itself."""
    usual = paths.Places()
    for name, text in reversed(_PLACES):
        path = click.Path(path_type=pathlib.Path)
        flag = f"--{name.replace('_', '-')}"
        option = click.option(flag, name, type=path, default=getattr(usual, name), help=text, show_default=True)
        function = option(function)
    prefix = "prefix of resources that state none in config.json"
    return click.option("--prefix", default=usual.prefix, help=prefix, show_default=True)(function)


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
