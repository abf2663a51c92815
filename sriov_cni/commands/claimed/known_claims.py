"""Claims that the daemon knows of; one that serves a network with `claims` always has them."""

from sriov_cni.context import claims
from sriov_cni.context.calls import Daemon


def of(daemon: Daemon) -> claims.PodClaims:
    assert daemon.claims is not None
    return daemon.claims
