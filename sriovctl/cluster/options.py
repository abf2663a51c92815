"""Options of the commands of `kubectl sriov`: kubectl's own, and where sriovctl is found. Added as decorators."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import click.shell_completion

from sriov import errors
from sriovctl import options
from sriovctl.cluster import kubectl, pods

_F = TypeVar("_F", bound=Callable[..., Any])
_COMPLETING = 5.0  # seconds that somebody waits for a completion


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    context.meta[str(option.name)] = value


def _collect(context: click.Context, option: click.Parameter, value: Sequence[str] | bool) -> None:
    """Keep a flag of kubectl's as it was given: a switch, or each value of another."""
    name = option.opts[0]
    flags = ([name] if value else []) if isinstance(value, bool) else [f"{name}={each}" for each in value]
    context.meta["flags"] = (*context.meta.get("flags", ()), *flags)


def common(function: _F) -> _F:
    """Add kubectl's flags, and where sriovctl is found; `arguments` are sriovctl's own."""
    for name, default, about in (
        ("--selector", pods.SELECTOR, "Labels of the DaemonSet's pods."),
        ("--daemonset-namespace", "", "Namespace of the DaemonSet's pods; any, if they are in one."),
    ):
        function = click.option(
            name, default=default, show_default=True, expose_value=False, callback=_remember, help=about
        )(function)
    named = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF SRIOVCTL]")
    return named(cluster(function))


def cluster(function: _F, seconds: float = 60.0) -> _F:
    """Add kubectl's flags, and how long an answer may take."""
    about = "kubectl's own, as all its flags that name a cluster or a user."
    for flag in (*reversed(kubectl.FLAGS), *kubectl.SWITCHES):
        kind: dict[str, Any] = {"is_flag": True} if flag in kubectl.SWITCHES else {"multiple": True}
        hidden = flag not in ("--context", "--kubeconfig")
        function = click.option(flag, hidden=hidden, expose_value=False, callback=_collect, help=about, **kind)(
            function
        )
    about = "Seconds that a node may take to answer."
    return click.option(
        "--timeout", default=seconds, show_default=True, expose_value=False, callback=_remember, help=about
    )(function)


def complete_nodes(
    _context: click.Context, _option: click.Parameter, incomplete: str
) -> list[click.shell_completion.CompletionItem]:
    """Offer the nodes of kubectl's current context; what cannot be asked for completes to nothing."""
    asked = kubectl.Kubectl(seconds=_COMPLETING)
    try:
        found = pods.by_node(asked.get("pods", "--all-namespaces", f"--selector={pods.SELECTOR}"))
    except errors.SriovError:
        return []
    return [click.shell_completion.CompletionItem(each) for each in found if each.startswith(incomplete)]


namespace = click.option("--namespace", "-n", help="kubectl's own: of the DaemonSet's pods; all if it is left out.")
nodes = click.option(
    "--node", "named", multiple=True, shell_complete=complete_nodes, help="Only this node; may be given again."
)
form = options.output_option
OPEN = {"ignore_unknown_options": True}


def client() -> kubectl.Kubectl:
    meta = click.get_current_context().meta
    return kubectl.Kubectl(tuple(meta.get("flags", ())), meta["timeout"])
