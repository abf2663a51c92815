"""Process of the agent: flags to objects, log, signals, exit status.

Exit status 0 after SIGTERM, 1 if it cannot know its node or its API server, 2 for wrong flags. An API server or a
daemon that is away ends nothing.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import pathlib
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from sriov import errors, versions
from sriov.apiserver import connection, flags
from sriov.daemon import background, http_address, log_level, logs, signals
from sriov_agent import agent

if TYPE_CHECKING:
    from sriov_agent.policies import feed as policy_feed

_log = logging.getLogger("sriov_agent")


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM. Without arguments: the process's own command line."""
    options = _parser().parse_args(argv)
    signals.leave_a_trace()
    logs.start(options.log_level, options.log_format)
    flags.quieten()
    try:
        asyncio.run(_run(options))
    except errors.SriovError as error:
        print(f"sriov-agent: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    if not options.node:
        raise errors.SriovError("the node's name is not known", "give --node, or set NODE_NAME (spec.nodeName)")
    stop = background.stopped_by(signal.SIGTERM, signal.SIGINT)
    server = connection.ApiServer(connection.configuration(options.kubeconfig, options.service_account_dir))
    running = agent.Agent(options.node, server, options.cluster_socket, _policies(options, server))
    gc.freeze()
    async with (
        log_level.followed(options.log_level, options.log_level_file, running.tasks),
        _answering(running, options.http),
        contextlib.aclosing(server),
    ):
        await background.run_until(stop, running.run())
    _log.info("stopped; the daemon keeps what it has")


def _policies(options: argparse.Namespace, server: connection.ApiServer) -> "policy_feed.PolicyFeed | None":
    if options.policies == "off":
        return None
    # An agent without policies imports nothing for them.
    from sriov_agent.policies import feed as policy_feed  # noqa: PLC0415

    where = policy_feed.FeedTarget(options.node, options.policy_socket, multi=options.policies == "all")
    return policy_feed.PolicyFeed(where, server, agent.Complaints().once)


def _answering(running: agent.Agent, where: http_address.Address | None) -> AbstractAsyncContextManager[None]:
    if where is None:
        return contextlib.nullcontext()
    # prometheus_client takes a tenth of a second and 10 MB: an agent without the endpoint does not pay for it.
    from sriov_agent import monitoring  # noqa: PLC0415

    return monitoring.serving(running, where)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sriov-agent",
        description="Tells the CNI daemon of this node which Services and policies the cluster has; no privilege.",
    )
    parser.add_argument(
        "--node", default=os.environ.get("NODE_NAME", ""), metavar="NAME", help="this node's name (NODE_NAME)"
    )
    parser.add_argument(
        "--cluster-socket",
        type=pathlib.Path,
        default=pathlib.Path("/run/sriov/cluster/agent.sock"),
        metavar="FILE",
        help="socket of sriov-cni-daemon, as its flag of this name (%(default)s)",
    )
    parser.add_argument(
        "--policies",
        choices=("off", "kubernetes", "all"),
        default="off",
        help="watch NetworkPolicies, or all: MultiNetworkPolicies, too; and what they select (%(default)s)",
    )
    parser.add_argument(
        "--policy-socket",
        type=pathlib.Path,
        default=pathlib.Path("/run/sriov/cluster/policies.sock"),
        metavar="FILE",
        help="with --policies: socket of sriov-cni-daemon, as its flag of this name (%(default)s)",
    )
    flags.add_flags(parser)
    versions.add_flag(parser)
    http_address.add_flag(parser)
    logs.add_flags(parser)
    return parser
