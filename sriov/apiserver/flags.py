"""Command line of programs that ask the API server, and what its library may log."""

import argparse
import logging
import pathlib

_ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LIBRARIES = ("httpx2", "httpcore2", "lightkube")  # at info they log every request


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add --kubeconfig and --service-account-dir."""
    parser.add_argument(
        "--kubeconfig", type=pathlib.Path, metavar="FILE", help="how to reach the API server (as the pod that this is)"
    )
    parser.add_argument(
        "--service-account-dir",
        type=pathlib.Path,
        default=_ACCOUNT,
        metavar="DIR",
        help="without --kubeconfig: token, ca.crt and namespace (%(default)s)",
    )


def quieten() -> None:
    """Have the library log warnings only, once the program's own log is set up."""
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
