"""CNI daemon: `sriov-cni-daemon`, or `python -m sriov_cni`."""

import argparse
import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import logging
import os
import pathlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sriov import errors
from sriov.attachment import announcing, node
from sriov.daemon import background, log_level, logs, signals, systemd
from sriov.hardware import sysfs
from sriov.linux import kernel, netlink, netns, sysctls, sysfs_writes
from sriov.state import call_log, daemon_problems, ledger, predecessor
from sriov_cni import cluster_parts, flags, server
from sriov_cni.context import calls, claims, policy, run_directory

if TYPE_CHECKING:
    from sriov_cni.monitoring import endpoint

_ENDING = 0.5  # seconds: a killed process closes its files one after the other
_THREADS = 32  # a burst of pods waits for the kernel in parallel; more would only queue at its global lock

KernelOpener = Callable[[], AbstractContextManager[kernel.Kernel]]


def main(
    argv: Sequence[str] | None = None,
    open_kernel: KernelOpener | None = None,
    patience: float = node.PATIENCE,
    writer: sysfs_writes.Attributes | None = None,
    policies: calls.PolicySource | None = None,
) -> int:
    """Run until SIGTERM. Without arguments: the process's own command line, and the machine's kernel and sysfs; a test
    passes others, and may shorten the patience. `policies` are those of the cluster's pods."""
    options = flags.parser().parse_args(argv)
    signals.leave_a_trace()
    logs.start(options.log_level, options.log_format)
    place = run_directory.RunDirectory(options.run_dir)
    try:
        writes = writer or sysfs_writes.Sysfs(options.sysfs)
        make = functools.partial(node.Node, sysfs.Tree(options.sysfs), open_kernel or open_netlink)
        asyncio.run(_run(options, functools.partial(make, patience=patience, writer=writes), place, policies))
        if place.is_held():
            cluster_parts.end_host_rules(open_kernel or open_netlink)
    except errors.SriovError as error:
        print(f"sriov-cni-daemon: {error}", file=sys.stderr)
        return 1
    finally:
        place.release()  # the last thread is over
    return 0


def kept(make: Callable[[], kernel.Kernel]) -> KernelOpener:
    """Give each thread its own kernel, kept until the thread ends: closing a socket delays the next move, by RCU."""
    threads = threading.local()

    @contextlib.contextmanager
    def opened() -> Iterator[kernel.Kernel]:
        if not hasattr(threads, "net"):
            threads.net = make()
        yield threads.net

    return opened


open_netlink = kept(netlink.Netlink)


async def _run(
    options: argparse.Namespace,
    node_of: Callable[[netns.Netns], node.Node],
    place: run_directory.RunDirectory,
    policies: calls.PolicySource | None,
) -> None:
    inherited = systemd.inherited_socket(os.environ)
    book = ledger.Ledger(options.run_dir)
    book.create()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(_THREADS, "vf"))
    stop = background.stopped_by(signal.SIGTERM, signal.SIGINT)
    with netns.own() as home:
        here = node_of(home)
        path = (
            options.socket or options.run_dir / "cni.sock"
            if inherited is None
            else pathlib.Path(inherited.getsockname())
        )
        monitor = _monitor(options)
        parts = cluster_parts.ClusterParts(options, here, book, policies)
        daemon = _daemon(options, here, book, monitor, parts)
        tell = functools.partial(systemd.tell, os.environ)
        gc.freeze()  # what exists now stays: no pod has to wait while it is searched for garbage
        async with contextlib.AsyncExitStack() as answering:
            await answering.enter_async_context(
                log_level.followed(options.log_level, options.log_level_file, daemon.tasks)
            )
            waits = not place.take()
            answers = monitor is None or await _answer(answering, monitor.serving(daemon, path, place), waits)
            if not await place.wait(stop, tell):
                return
            if monitor is not None and not answers:
                await asyncio.sleep(_ENDING)
                await _answer(answering, monitor.serving(daemon, path, place))
            await answering.enter_async_context(parts.serving(daemon, monitor))
            await _serve(server.Server(daemon, tell=tell, is_ours=place.is_held), inherited or path, place, stop)


def _daemon(
    options: argparse.Namespace,
    here: node.Node,
    book: ledger.Ledger,
    monitor: "endpoint.DaemonMonitor | None",
    parts: cluster_parts.ClusterParts,
) -> calls.Daemon:
    return calls.Daemon(
        here,
        book,
        announce=functools.partial(announcing.Announcer, sysctls=options.net_sysctls),
        guard=policy.Guard(options.policy),
        pod_resources=options.pod_resources_socket,
        upstream=predecessor.Upstream(options.predecessor_dir),
        meter=None if monitor is None else monitor.meter,
        calls_log=call_log.Recent(options.run_dir),
        troubles=daemon_problems.Trouble(options.run_dir),
        enable_ipv6=functools.partial(enable_ipv6, sysctls=options.net_sysctls),
        translation=parts.translation,
        set_sysctls=functools.partial(set_sysctls, root=options.net_sysctls),
        service_ranges=parts.service_ranges,
        policies=parts.policies,
        enforcement=parts.enforcement,
        notes=parts.notes,
        claims=claims.PodClaims(options.run_dir),
        other_balancers=parts.other_balancers,
    )


async def _answer(
    answering: contextlib.AsyncExitStack, endpoint: contextlib.AbstractAsyncContextManager[None], waits: bool = False
) -> bool:
    """Have the endpoint answer until the stack ends. A waiting daemon can do without while another has the address."""
    try:
        await answering.enter_async_context(endpoint)
    except errors.SriovError as error:
        if not waits:
            raise
        logging.getLogger("sriov_cni").warning("waiting: %s", error.message)
        return False
    return True


async def _serve(
    serving: server.Server, where: socket.socket | pathlib.Path, place: run_directory.RunDirectory, stop: asyncio.Event
) -> None:
    """Serve until `stop`, or until the run directory is not ours any more. Raises LedgerError then."""
    losing = asyncio.create_task(place.lose(stop))
    try:
        if isinstance(where, pathlib.Path):
            await serving.serve(where, stop)
        else:
            await serving.serve_inherited(where, stop)
    finally:
        losing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await losing


def enable_ipv6(pod: netns.Netns, name: str, sysctls: pathlib.Path) -> None:
    """As announcing.enable_ipv6, with this program's remedy."""
    with _naming_the_flag():
        announcing.enable_ipv6(pod, name, sysctls)


def set_sysctls(namespace: netns.Netns, wanted: Mapping[str, str], root: pathlib.Path) -> None:
    """As sysctls.write, with this program's remedy."""
    with _naming_the_flag():
        sysctls.write(namespace, wanted, root)


@contextlib.contextmanager
def _naming_the_flag() -> Iterator[None]:
    try:
        yield
    except errors.UnsupportedError as error:
        error.remedy += ", or name a /proc/sys/net that can be written with --net-sysctls"
        raise


def _monitor(options: argparse.Namespace) -> "endpoint.DaemonMonitor | None":
    if options.http is None:
        return None
    # prometheus_client takes a tenth of a second and 10 MB: a daemon without the endpoint does not pay for it.
    from sriov_cni.monitoring import endpoint  # noqa: PLC0415

    return endpoint.DaemonMonitor(options.http, options.counters_interval)
