"""RDMA isolation: whether a VF's RDMA devices move into the pod with it, on nodes where each is in one namespace.

rdma-cni, chained behind this plugin, looks for the device in the host and fails if there is none (cmd/rdma/main.go,
CmdAdd). A plugin cannot see its chain. So if rdma-cni is installed, the device is left to it, unless the configuration
asks for isolation. A VF without an RDMA device costs one look into sysfs.
"""

from sriov import devices, errors
from sriov.attachment import rdma
from sriov.hardware.drivers import infiniband
from sriov.linux import kernel
from sriov_cni.commands import rdma_numbering
from sriov_cni.context import locks
from sriov_cni.context.calls import Call, Daemon, log
from sriov_cni.shim import wire

_RDMA_CNI = "rdma"  # the name of rdma-cni's file, and the `type` of a configuration that uses it


Moving = tuple[tuple[kernel.RdmaDevice, ...], tuple[str, ...]]
"""The devices to move, and the VF's device nodes that the pod was given."""


def note(daemon: Daemon, call: Call, pci: devices.PciAddress) -> None:
    """Remember the VF's RDMA device nodes, which the pod was given, before anything is moved."""
    pod = call.invocation.args.uid or call.invocation.container_id
    daemon.promised.note(pci, pod, infiniband.nodes(daemon.node.tree.pci(pci)))


async def moving(daemon: Daemon, held: locks.Held, call: Call, vf: devices.VF, wanted: bool | None) -> Moving:
    """Return them. Raises SettingError if isolation is `wanted` and impossible, and what `_settle` raises."""
    found = await _found(daemon, held, call, vf, wanted)
    if not found:
        return (), ()
    note(daemon, call, vf.pci)
    promised = daemon.promised.of(vf.pci)
    rdma.refuse_lost(daemon.node, vf.pci, promised)
    if promised:
        await _settle(daemon, held, vf.pci)
    return found, promised


async def _settle(daemon: Daemon, held: locks.Held, pci: devices.PciAddress) -> None:
    """Make the VF's devices keep their nodes. Raises BusyError if that is impossible until another VF has moved."""
    if not await held.run(rdma.would_change, daemon.node, pci):
        return
    await rdma_numbering.settle(daemon, below=pci)
    if await held.run(rdma.would_change, daemon.node, pci) and daemon.promised.wait(pci):
        raise errors.BusyError(
            f"VF {pci} would change its RDMA device nodes on its way into the pod, since lower ones are free",
            "the daemon gives those to a free VF; try again later",
        )


async def _found(
    daemon: Daemon, held: locks.Held, call: Call, vf: devices.VF, wanted: bool | None
) -> tuple[kernel.RdmaDevice, ...]:
    names = infiniband.names(daemon.node.tree.pci(vf.pci))
    if not names or wanted is False or _is_infiniband(vf, wanted):
        return ()
    found = await held.run(rdma.movable, daemon.node, vf.pci)
    if wanted and not found:
        raise errors.SettingError(
            f"rdmaIsolation true: all namespaces share RDMA device {names[0]} of VF {vf.pci}",
            "`rdma system set netns exclusive` when the node boots, or leave it out",
        )
    if found and wanted is None and await _is_installed(call):
        log.info("RDMA device %s of VF %s is left to rdma-cni; rdmaIsolation true moves it here", names[0], vf.pci)
        return ()
    return found


def _is_infiniband(vf: devices.VF, wanted: bool | None) -> bool:
    """Check for InfiniBand, whose netdev is made of its RDMA device and ends with its move (ipoib_remove_one())."""
    if vf.link_type is not devices.LinkType.INFINIBAND:
        return False
    if wanted:
        raise errors.UnsupportedError(
            f"rdmaIsolation true: the netdev of InfiniBand VF {vf.pci} does not survive it",
            "leave it out, or use an Ethernet VF",
        )
    return True


async def _is_installed(call: Call) -> bool:
    outcome = await call.run_ipam("VERSION", _RDMA_CNI)
    return outcome.status != wire.NO_PLUGIN
