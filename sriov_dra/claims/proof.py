"""Proof that a claim's VFs are in the pod, before a container of it starts: the hook, and for which VFs it is asked."""

import logging
import pathlib
from collections.abc import Callable, Sequence

from sriov.hardware import node_devices
from sriov.pools import resources
from sriov.state import grants
from sriov_dra.claims import edits

_log = logging.getLogger(__name__)


def hook(
    grant: grants.ClaimGrant,
    found: Sequence[edits.PreparedDevice],
    records: pathlib.Path,
    program: Callable[[], pathlib.Path],
) -> edits.Hook | None:
    """Return the hook for those VFs that the pod must not start without; None if there are none.

    `found` are the grant's devices, `records` the ledger's folder. Raises what `program` raises.
    """
    proven = []
    for granted, device in zip(grant.devices, found, strict=True):
        if granted.unattached:
            _log.warning("%s: its pod may start without %s: %s", grant, granted.id, granted.unattached)
        elif is_attachable(device):
            proven.append(granted.id)
    if not proven:
        return None
    return edits.Hook(str(program()), (str(records), f"{grant.namespace}/{grant.name}", *proven))


def is_attachable(one: edits.PreparedDevice) -> bool:
    """Return whether the CNI plugin attaches such a device: it is a NIC's VF, whatever its driver."""
    return one.device.facts.role is node_devices.Role.VF and one.pool.settings.kind is resources.DeviceType.NET
