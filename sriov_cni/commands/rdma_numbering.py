"""Numbers of RDMA device nodes without gaps, so that a device that moves into a pod keeps its own (rdma_nodes).

A gap appears when a VF loses its driver, or gets another. Devices of free VFs are moved into it, those with the highest
numbers first, so that as few as possible change. Only if devices are exclusive to namespaces.
"""

import asyncio
from collections.abc import Set

from sriov import devices, errors
from sriov.attachment import rdma
from sriov.hardware.drivers import rdma_nodes
from sriov_cni.context.calls import Daemon, log


async def settle(daemon: Daemon, below: devices.PciAddress | None = None) -> None:
    """Fill the gaps, or only those `below` a VF's own nodes, with devices that have higher numbers than it.

    A VF that another call works on is left alone, and so is one that cannot be moved. Raises SriovError.
    """
    if not await asyncio.to_thread(rdma.may_settle, daemon.node):
        return
    tried: set[devices.PciAddress] = set()
    while (pci := await asyncio.to_thread(_next, daemon, below, frozenset(tried))) is not None:
        tried.add(pci)
        if not daemon.vf_locks.held(pci):
            async with daemon.vf_locks.of(pci) as held:
                await held.run(_move_down, daemon, pci)


def _next(
    daemon: Daemon, below: devices.PciAddress | None, tried: Set[devices.PciAddress]
) -> devices.PciAddress | None:
    node = daemon.node
    if below is not None and not rdma.would_change(node, below):
        return None
    for pci in rdma_nodes.devices_by_number(node.tree):
        if pci == below:
            return None
        if pci not in tried and rdma.would_change(node, pci) and rdma.is_idle(node, pci):
            return pci
    return None


def _move_down(daemon: Daemon, pci: devices.PciAddress) -> None:
    if daemon.record_of(pci) is not None or not rdma.would_change(daemon.node, pci):
        return
    try:
        rdma.move_down(daemon.node, pci)
    except errors.SriovError as error:
        log.warning("VF %s keeps its RDMA device nodes: %s", pci, error)
