"""Attachments that stand in the way of a removal: without a daemon no VF is taken back clean.

Pods are named as the runtime named them in its call. Of what sriov-cni attached only the container is known.
"""

import contextlib
import os
import pathlib
import socket

from sriov import layout
from sriov.linux import host_rules, netlink
from sriov.state import ledger, predecessor

_MOST = 5  # pods that are listed


def held(run_dir: pathlib.Path) -> list[ledger.Record]:
    """Return the records. Raises LedgerError."""
    return list(ledger.Ledger(run_dir).records())


def held_before(folder: pathlib.Path, root: pathlib.Path) -> list[ledger.Record]:
    """Return those of sriov-cni whose namespace is there below `root`: its files outlive a reboot. Raises LedgerError.

    Only our daemon or sriov-cni can carry out their DEL.
    """
    records = [each.record for each in predecessor.Upstream(folder).written()]
    return [each for each in records if each.owner.netns and _exists(root / each.owner.netns.lstrip("/"))]


def _exists(path: pathlib.Path) -> bool:
    """Report whether there is such a file; no path that cannot be one is an error."""
    return os.path.exists(path)  # noqa: PTH110


def is_served(run_dir: pathlib.Path) -> bool:
    """Report whether a daemon listens on the shims' socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(run_dir / "cni.sock")) == 0


def left_rules(root: pathlib.Path) -> bool:
    """Report whether the node has rules for host links, and no host link. They are the running kernel's: another
    `root` has none. Raises SriovError."""
    if root != pathlib.Path("/"):
        return False
    with contextlib.closing(netlink.Netlink()) as net:
        return host_rules.is_unused(net)


def problem(records: list[ledger.Record]) -> str:
    """Return why nothing can be removed now; "" if it can."""
    if not records:
        return ""
    vfs: dict[str, list[str]] = {}
    for record in records:
        vfs.setdefault(_name(record.owner), []).append(record.pci)
    listed = [f"{pod} ({', '.join(pcis)})" for pod, pcis in vfs.items()]
    return (
        f"pods still hold VFs: {layout.some(listed, _MOST)}; drain the node,"
        " or give --leave-attachments if another installation takes them over"
    )


def _name(owner: ledger.Owner) -> str:
    """Return the pod; of a runtime that names none, and of sriov-cni, what else is known."""
    if owner.pod:
        return f"{owner.namespace}/{owner.pod}"
    if owner == ledger.UNKNOWN:
        return "an unknown pod, whose record is damaged"
    return f"a pod that is only known as container {owner.container_id}"
