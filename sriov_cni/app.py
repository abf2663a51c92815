"""CNI daemon: `sriov-cni-daemon`, or `python -m sriov_cni`."""

import argparse
import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import logging
import math
import os
import pathlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sriov import errors, versions
from sriov.attachment import announcing, node
from sriov.daemon import http_address, log_level, logs, signals, systemd, unix_sockets
from sriov.hardware import sysfs
from sriov.linux import host_rules, kernel, netlink, netns, sysctls, sysfs_writes
from sriov.state import call_log, daemon_problems, ledger, predecessor
from sriov_cni import server
from sriov_cni.context import calls, policy, run_directory

if TYPE_CHECKING:
    from sriov_cni.dataplane import reception, services
    from sriov_cni.dataplane.policies import tables
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
    options = _parser().parse_args(argv)
    signals.leave_a_trace()
    logs.start(options.log_level, options.log_format)
    place = run_directory.RunDirectory(options.run_dir)
    try:
        writes = writer or sysfs_writes.Sysfs(options.sysfs)
        make = functools.partial(node.Node, sysfs.Tree(options.sysfs), open_kernel or open_netlink)
        asyncio.run(_run(options, functools.partial(make, patience=patience, writer=writes), place, policies))
        if place.is_held():
            _end_host_rules(open_kernel or open_netlink)
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
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with netns.own() as home:
        here = node_of(home)
        path = (
            options.socket or options.run_dir / "cni.sock"
            if inherited is None
            else pathlib.Path(inherited.getsockname())
        )
        monitor = _monitor(options)
        translation = _translation(options)
        receiving = _reception(options, book, translation)
        held = _policies(options)
        daemon = calls.Daemon(
            here,
            book,
            functools.partial(announcing.Announcer, sysctls=options.net_sysctls),
            policy.Guard(options.policy),
            options.pod_resources_socket,
            predecessor.Upstream(options.predecessor_dir),
            None if monitor is None else monitor.meter,
            call_log.Recent(options.run_dir),
            daemon_problems.Trouble(options.run_dir),
            functools.partial(enable_ipv6, sysctls=options.net_sysctls),
            translation,
            functools.partial(set_sysctls, root=options.net_sysctls),
            None if receiving is None else lambda: receiving.receiver.ranges,
            policies=policies or held,
            enforcement=None if (policies or held) is None else _enforcement(here),
            other_balancers=_other_balancers(options),
        )
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
            _end_services(options)
            if translation is not None:  # not before the former daemon has ended, whose programs these replace
                _start(translation, book)
            if receiving is not None:
                if monitor is not None:
                    receiving.meter = monitor.count_services(receiving.receiver.silence)
                await answering.enter_async_context(receiving.serving(daemon.tasks))
            if held is not None:
                await answering.enter_async_context(_receiving_policies(options, held, daemon, monitor))
            await _serve(server.Server(daemon, tell=tell, is_ours=place.is_held), inherited or path, place, stop)


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
    try:
        announcing.enable_ipv6(pod, name, sysctls)
    except errors.UnsupportedError as error:
        error.remedy += ", or name a /proc/sys/net that can be written with --net-sysctls"
        raise


def _translation(options: argparse.Namespace) -> "services.Translator | None":
    if options.services is None:
        return None
    # A daemon without Services imports nothing for them.
    from sriov_cni.dataplane import services  # noqa: PLC0415

    return services.Translator(options.services, options.cgroup_root or services.cgroup_root())


def _start(translation: "services.Translator", book: ledger.Ledger) -> None:
    """Load the programs for Services, or take them over, with the pods that the ledger has. Raises SriovError."""
    translation.start()
    for record in book.records():
        if record.cookie:
            translation.admit(record.cookie)
    translation.prove()


def _enforcement(here: node.Node) -> calls.Enforcement:
    # A daemon without policies imports nothing for them.
    from sriov_cni.dataplane.policies import policy_enforcer  # noqa: PLC0415

    return policy_enforcer.Enforcer(here.kernel)


def set_sysctls(pod: netns.Netns, wanted: Mapping[str, str], root: pathlib.Path) -> None:
    """As sysctls.write, with this program's remedy."""
    try:
        sysctls.write(pod, wanted, root)
    except errors.UnsupportedError as error:
        error.remedy += ", or name a /proc/sys/net that can be written with --net-sysctls"
        raise


def _end_services(options: argparse.Namespace) -> None:
    """End what a former daemon has left of Services, and the tables of its agent. Raises SriovError."""
    if options.remove_services is None:
        return
    from sriov_cni.dataplane import services, table_store  # noqa: PLC0415
    from sriov_cni.dataplane.policies import reception as policy_reception  # noqa: PLC0415

    services.remove(options.remove_services)
    table_store.Snapshot(options.cluster_snapshot).forget()
    if options.policy_socket is None:
        policy_reception.kept(options.policy_snapshot).forget()
    logging.getLogger("sriov_cni").info("nothing is left of Services in %s", options.remove_services)


def _end_host_rules(open_kernel: KernelOpener) -> None:
    """Remove the node's rules for host links if no pod has one: the next daemon makes them again for its first."""
    log = logging.getLogger("sriov_cni")
    try:
        with open_kernel() as net:
            if host_rules.is_unused(net):
                host_rules.remove(net)
                log.info("no pod has a host link: the table %s of nftables is removed", host_rules.TABLE)
    except errors.SriovError as error:
        log.warning("the table %s of nftables is left: %s", host_rules.TABLE, error)


def _other_balancers(options: argparse.Namespace) -> calls.OtherBalancers:
    """Have them looked for when somebody asks: a daemon that nobody asks imports nothing for it."""

    @functools.cache
    def made() -> calls.OtherBalancers:
        from sriov_cni.dataplane import services  # noqa: PLC0415
        from sriov_cni.dataplane.modes import other_balancers  # noqa: PLC0415

        return other_balancers.CiliumLook(lambda: options.cgroup_root or services.cgroup_root())

    def look() -> tuple[str, ...]:
        return made()()

    return look


def _monitor(options: argparse.Namespace) -> "endpoint.DaemonMonitor | None":
    if options.http is None:
        return None
    # prometheus_client takes a tenth of a second and 10 MB: a daemon without the endpoint does not pay for it.
    from sriov_cni.monitoring import endpoint  # noqa: PLC0415

    return endpoint.DaemonMonitor(options.http, options.counters_interval)


def _reception(
    options: argparse.Namespace, book: ledger.Ledger, translation: calls.Translation | None
) -> "reception.Reception | None":
    """Return what takes the cluster's Services from the agent. A daemon without them imports nothing for them."""
    if options.cluster_socket is None:
        return None
    from sriov_cni.dataplane import reception  # noqa: PLC0415

    where = reception.Where(options.cluster_socket, options.cluster_snapshot, options.cluster_uid)
    return reception.Reception(where, translation, book.records)


def _policies(options: argparse.Namespace) -> "tables.PolicyTables | None":
    """Return what knows the policies of the cluster's pods. A daemon without them imports nothing for them."""
    if options.policy_socket is None:
        return None
    from sriov_cni.dataplane.policies import tables  # noqa: PLC0415

    return tables.PolicyTables()


def _receiving_policies(
    options: argparse.Namespace,
    held: "tables.PolicyTables",
    daemon: calls.Daemon,
    monitor: "endpoint.DaemonMonitor | None",
) -> contextlib.AbstractAsyncContextManager[None]:
    from sriov_cni.dataplane.policies import reception  # noqa: PLC0415

    places = reception.PolicyPlaces(options.policy_socket, options.policy_snapshot, options.cluster_uid)
    if monitor is None:
        return reception.made(places, held).serving(places.socket, daemon.tasks)
    meter = monitor.count_policies(held.usage)
    receiving = reception.made(places, held, meter)
    meter.silence = receiving.silence
    return receiving.serving(places.socket, daemon.tasks)


def _seconds(text: str) -> float:
    """Parse an interval of at least one second: a look takes a tenth of a millisecond for each VF."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"invalid interval {text!r}: write seconds, at least 1")
    return seconds


_PLACES = (
    ("--run-dir", "/run/sriov", "the ledger and the socket (%(default)s)"),
    ("--socket", None, "socket for the shim (systemd's, else RUN_DIR/cni.sock)"),
    ("--sysfs", "/sys", "the sysfs to read (%(default)s)"),
    (
        "--net-sysctls",
        announcing.SYSCTLS,
        "/proc/sys/net, or a writable mount of it (%(default)s)",
    ),
    (
        "--policy",
        "/etc/sriov-underlay/policy.json",
        "what network configurations may ask for; everything if it does not exist (%(default)s)",
    ),
    ("--predecessor-dir", "/var/lib/cni/sriov", "records of pods that sriov-cni attached (%(default)s)"),
    ("--cgroup-root", None, "with --services: where cgroup v2 is mounted, its root (found in /proc/self/mountinfo)"),
    ("--cluster-socket", None, "socket on which sriov-agent sends the cluster's Services (off)"),
    (
        "--cluster-snapshot",
        "/var/lib/sriov-underlay/services",
        "with --cluster-socket: the last Services, for the next start (%(default)s)",
    ),
    ("--policy-socket", None, "socket on which sriov-agent sends the cluster's network policies (off)"),
    (
        "--policy-snapshot",
        "/var/lib/sriov-underlay/policies",
        "with --policy-socket: the last policies, for the next start (%(default)s)",
    ),
)
_POD_RESOURCES = "pod-resources/kubelet.sock"  # below the kubelet's root directory


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sriov-cni-daemon",
        description="The daemon behind the CNI plugin: moves VFs into pods and takes them back. Needs root.",
    )
    for flag, default, text in _PLACES:
        parser.add_argument(flag, type=pathlib.Path, default=default, help=text)
    _add_services(parser)
    _add_kubelet(parser)
    parser.add_argument(
        "--cluster-uid",
        type=int,
        default=unix_sockets.AGENT_UID,
        metavar="UID",
        help="with --cluster-socket and --policy-socket: the user that sriov-agent runs as, who may send beside root"
        " (%(default)s)",
    )
    versions.add_flag(parser)
    _add_what_it_tells(parser)
    return parser


def _add_services(parser: argparse.ArgumentParser) -> None:
    one = parser.add_mutually_exclusive_group()
    text = "folder for the programs that translate Services, such as /sys/fs/bpf/sriov-underlay (off)"
    one.add_argument("--services", type=pathlib.Path, metavar="DIR", help=text)
    text = "end what a former daemon with --services DIR has left there, and the tables of its agent"
    one.add_argument("--remove-services", type=pathlib.Path, metavar="DIR", help=text)


def _add_kubelet(parser: argparse.ArgumentParser) -> None:
    """Two names for one socket: by the kubelet's root directory, as the other programs have it, or by itself."""
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--kubelet-root-dir",
        type=lambda text: pathlib.Path(text) / _POD_RESOURCES,
        dest="pod_resources_socket",
        default=pathlib.Path("/var/lib/kubelet", _POD_RESOURCES),
        metavar="DIR",
        help=f"{_POD_RESOURCES} there is asked for a pod's device if the configuration names none (/var/lib/kubelet)",
    )
    one.add_argument(
        "--pod-resources-socket",
        type=pathlib.Path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="this socket, if it is elsewhere",
    )


def _add_what_it_tells(parser: argparse.ArgumentParser) -> None:
    http_address.add_flag(parser)
    parser.add_argument(
        "--counters-interval",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="between two reads of the VFs' counters, with --http (%(default)s)",
    )
    logs.add_flags(parser)
