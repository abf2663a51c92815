"""`sriov-underlay cluster ready | remove-shim`: what the chart's hooks run, in a pod.

    ready          end with 0 if every pod of the DaemonSets is ready, which the kubelet asks the daemons for
    remove-shim    have the DaemonSets take the shim from every node, and wait until they have

Exit status 0 if it is so, 1 if it is not, or cannot be. `remove-shim` changes nothing while a pod holds a VF.
"""

import argparse
import contextlib
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence

from sriov import errors, layout
from sriov_installer.cluster import api, rollouts

_PAUSE = 1.0  # seconds between two looks
_MOST = 20  # holders that are shown


def main(arguments: Sequence[str]) -> int:
    """Raises SriovError."""
    given = _parser().parse_args(arguments)
    cluster = api.Api(given.api_server or api.address(), given.account)
    return int(given.run(cluster, given))


def _ready(cluster: api.Api, given: argparse.Namespace) -> int:
    there = _wait(cluster, given, time.monotonic() + given.timeout, "look at the pods that are not ready")
    if not rollouts.nodes(there):
        raise errors.SriovError(
            f"no node fits {', '.join(given.daemonset)}",
            "look at nodeSelector, affinity and nodeFeatureDiscovery.enabled in the chart's values",
        )
    print(f"the daemons answer on {rollouts.nodes(there)} nodes")
    return 0


def _remove_shim(cluster: api.Api, given: argparse.Namespace) -> int:
    if held := _held(cluster, given):
        raise errors.SriovError(
            f"pods hold VFs, and their end needs the shim and the daemon: {held}",
            "delete these pods first; nothing was changed",
        )
    deadline = time.monotonic() + given.timeout  # of both waits: Helm has one too
    first = "wait until every node is up, or remove the release with --no-hooks; nothing was changed"
    for each in _wait(cluster, given, deadline, first):
        cluster.patch_daemonset(each["metadata"]["name"], rollouts.removal(each))
    count = rollouts.nodes(
        _wait(cluster, given, deadline, "look at the pods that are not ready; the shim goes from the rest")
    )
    if held := _held(cluster, given):  # by an ADD between the first look and the end of its node's daemon
        raise errors.SriovError(
            f"the shim is gone, and pods have got VFs meanwhile: {held}",
            "install the release again with `helm upgrade`, delete these pods, and repeat",
        )
    print(f"the shim is gone from {count} nodes")
    return 0


def _look(cluster: api.Api, given: argparse.Namespace) -> list[rollouts.Object]:
    return [cluster.daemonset(name) for name in given.daemonset]


def _held(cluster: api.Api, given: argparse.Namespace) -> str:
    """Return the pods that hold VFs, "" for none."""
    found = rollouts.holders(cluster.pods(), given.resource)
    if given.driver:
        found += rollouts.claimants(cluster.claims(), given.driver)
    return layout.some(found, _MOST, "; ")


def _lacking(there: Iterable[rollouts.Object]) -> str:
    return "; ".join(filter(None, map(rollouts.lacking, there)))


def _wait(cluster: api.Api, given: argparse.Namespace, deadline: float, remedy: str) -> list[rollouts.Object]:
    """Wait until all are rolled out; returns them. Raises SriovError. An API server may restart meanwhile."""
    there, shown = _look(cluster, given), ""
    while lacking := _lacking(there):
        if time.monotonic() > deadline:
            raise errors.SriovError(f"after {given.timeout:g} s: {lacking}", remedy)
        if lacking != shown:
            print(lacking, flush=True)
            shown = lacking
        time.sleep(_PAUSE)
        with contextlib.suppress(api.ApiError):
            there = _look(cluster, given)
    return there


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("sriov-underlay cluster", description=__doc__, allow_abbrev=False)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    _command(commands, "ready", _ready, "report whether the daemons answer on every node")
    removing = _command(commands, "remove-shim", _remove_shim, "take the shim from every node")
    text = "a resource whose holders have to end first, as in intel.com/sriov_vf; again for each"
    removing.add_argument("--resource", action="append", default=[], help=text)
    text = "a DRA driver whose claims' pods have to end first, as sriov-underlay"
    removing.add_argument("--driver", default="", help=text)
    return made


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[api.Api, argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    made.set_defaults(run=run)
    made.add_argument(
        "--daemonset", action="append", required=True, help="a DaemonSet of the pod's namespace; again for each"
    )
    made.add_argument("--timeout", type=float, default=240.0, metavar="SECONDS", help="wait so long (%(default)g)")
    made.add_argument("--api-server", metavar="URL", help="the API server (that of the pod's environment)")
    made.add_argument(
        "--account",
        type=pathlib.Path,
        default=api.ACCOUNT,
        metavar="DIR",
        help="token, ca.crt and namespace (%(default)s)",
    )
    return made
