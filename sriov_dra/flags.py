"""Command line of the DRA driver. Flags that the device plugin has too have the same names."""

import argparse
import os
import pathlib

from sriov import versions
from sriov.apiserver import flags
from sriov.daemon import http_address, logs

_PATHS = {
    "config-file": ("/etc/pcidp/config.json", "the resources and their devices"),
    "sysfs": ("/sys", "where the hardware is read"),
    "procfs": ("/proc", "procfs, to read the host's routes and addresses"),
    "dev": ("/dev", "folder of shared device nodes, beside sysfs"),
    "run-dir": ("/run/sriov", "the CNI's run directory: claims are written, the rest is only read"),
    "cdi-dir": ("/var/run/cdi", "folder of the CDI specs"),
    "cni-conf-dir": ("/etc/cni/net.d", "networks of the node, which claims may name"),
    "kubelet-root-dir": (
        "/var/lib/kubelet",
        "holds plugins, plugins_registry, device-plugins and pod-resources, as on the host",
    ),
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "sriov-dra-driver",
        description="Publishes SR-IOV VFs for claims (DRA), and prepares claims. Needs no privilege but uid 0.",
    )
    _add_names(made)
    for name, (default, text) in _PATHS.items():
        made.add_argument(
            f"--{name}", type=pathlib.Path, default=pathlib.Path(default), metavar="PATH", help=f"{text} (%(default)s)"
        )
    made.add_argument(
        "--claim-hook",
        type=pathlib.Path,
        metavar="PATH",
        help="program that keeps a container without its VFs from starting, copied for the runtime (the package's own)",
    )
    flags.add_flags(made)
    made.add_argument(
        "--resync-interval",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="between two looks at the hardware without an event (%(default)s)",
    )
    versions.add_flag(made)
    http_address.add_flag(made)
    logs.add_flags(made)
    return made


def _add_names(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--node", default=os.environ.get("NODE_NAME", ""), metavar="NAME", help="this node's name (NODE_NAME)"
    )
    made.add_argument(
        "--driver-name", default="sriov-underlay", metavar="NAME", help="name in slices and DeviceClasses (%(default)s)"
    )
    made.add_argument(
        "--pod-uid",
        default=os.environ.get("POD_UID", ""),
        metavar="UID",
        help="of this pod, so that a rolling update has two drivers at a time (POD_UID)",
    )
    made.add_argument(
        "--resource-prefix",
        default="intel.com",
        metavar="NAME",
        help="prefix of resources that state none (%(default)s)",
    )
