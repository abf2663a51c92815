"""What the daemon knows of claims; one that serves a network with claims always does."""

from sriov_cni.context import claims
from sriov_cni.context.calls import Daemon


def of(daemon: Daemon) -> claims.PodClaims:
    assert daemon.claims is not None
    return daemon.claims
