"""Flags of `sriov-cni-daemon`."""

import argparse
import math
import pathlib

from sriov import versions
from sriov.attachment import announcing
from sriov.daemon import http_address, logs, unix_sockets


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


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="sriov-cni-daemon",
        description="The daemon behind the CNI plugin: moves VFs into pods and takes them back. Needs root.",
    )
    for flag, default, text in _PLACES:
        made.add_argument(flag, type=pathlib.Path, default=default, help=text)
    _add_services(made)
    _add_kubelet(made)
    made.add_argument(
        "--cluster-uid",
        type=int,
        default=unix_sockets.AGENT_UID,
        metavar="UID",
        help="with --cluster-socket and --policy-socket: the user that sriov-agent runs as, who may send beside root"
        " (%(default)s)",
    )
    versions.add_flag(made)
    _add_what_it_tells(made)
    return made


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
