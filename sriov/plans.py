"""How a VF gets into a pod: the steps, in the order that carries the promises. Pure; attachment carries them out.

The PF states the VLAN before the VF can carry a frame. The VF takes its address while no MAC is administered, since
igbvf refuses it afterwards, and the PF administers it after that, since igb does not pass it on. The link comes up
last. The host never sees the pod's name or MAC: the move renames, and the MAC follows it.
"""

import dataclasses

from sriov import devices, kernel, ledger, settings, sysfs, vfconfig


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Which VF, for whom, how. `mtu` in bytes; None keeps the VF's. `rdma` are the RDMA devices that go with it.

    `rdma_nodes` are the RDMA device nodes that the pod counts on, as in `uverbs3`.

    `ipam` is the plugin that gives the pod its addresses; nothing here asks it.
    """

    vf: devices.VF
    owner: ledger.Owner
    wanted: settings.VfSettings
    mtu: int | None = None
    allmulti: bool = False
    rdma: tuple[kernel.RdmaDevice, ...] = ()
    ipam: str = ""
    rdma_nodes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class StateVf:
    """The PF states the whole VF, without an administered MAC."""

    target: vfconfig.Target
    wanted: settings.VfSettings


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """The netdev, `was` its name in the host, goes into the pod under its name there, changed on the way."""

    pci: devices.PciAddress
    index: int
    was: str
    name: str
    change: kernel.Change = kernel.NOTHING


@dataclasses.dataclass(frozen=True, slots=True)
class MoveRdma:
    """An RDMA device follows its netdev. `nodes` are the VF's device nodes, which it is to keep."""

    device: kernel.RdmaDevice
    pci: devices.PciAddress
    nodes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Configure:
    """In the pod: address, MTU, flags."""

    name: str
    change: kernel.Change


@dataclasses.dataclass(frozen=True, slots=True)
class Administer:
    """The PF pins the MAC, so that spoof checking holds the pod to it."""

    target: vfconfig.Target
    wanted: settings.VfSettings


Step = StateVf | Move | MoveRdma | Configure | Administer


def plan(target: vfconfig.Target | None, netdev: sysfs.Netdev, request: Request) -> tuple[Step, ...]:
    """The steps that take a VF from the host, whatever it was left with, to the pod as wanted.

    Without a PF (`target` None) the VF's own MAC and MTU can be set and nothing else: UnsupportedError.
    """
    wanted, name = _pinned(request, netdev), request.owner.ifname
    own = wanted.mac == settings.NO_MAC
    change = kernel.Change(
        address=netdev.address if own else wanted.mac,
        mtu=request.mtu or netdev.mtu,
        allmulti=request.allmulti,
        promisc=False,
        noarp=False,
    )
    if target is None:
        vfconfig.refuse_without_pf(wanted, has_netdev=True)
        return _into_pod(netdev, request, dataclasses.replace(change, up=True))
    state = StateVf(target, dataclasses.replace(wanted, mac=settings.NO_MAC))
    if own:
        # Clearing the administered MAC made igb forget the VF's own too: the VF has to say it again.
        elsewhere = kernel.Change(address=settings.aside(netdev.address))
        moved = _into_pod(netdev, request, elsewhere)
        return (state, *moved, Configure(name, dataclasses.replace(change, up=True)))
    moved = _into_pod(netdev, request, change)
    return (state, *moved, Administer(target, wanted), Configure(name, kernel.Change(up=True)))


def _into_pod(netdev: sysfs.Netdev, request: Request, change: kernel.Change) -> tuple[Step, ...]:
    """In one request, since each waits for the moves of other pods; but RDMA devices go while nothing is changed.

    What is up has addresses, of which RoCE makes its GIDs, and those come when the device is where they are.
    """
    pci, name = request.vf.pci, request.owner.ifname
    if not request.rdma:
        return (Move(pci, netdev.index, netdev.name, name, change),)
    follow = (MoveRdma(device, pci, request.rdma_nodes) for device in request.rdma)
    return (Move(pci, netdev.index, netdev.name, name), *follow, Configure(name, change))


def _pinned(request: Request, netdev: sysfs.Netdev) -> settings.VfSettings:
    """What the PF is told: the VF's own MAC too, where spoof checking would stop it otherwise."""
    wanted = request.wanted
    if wanted.mac != settings.NO_MAC or not wanted.spoofchk or request.vf.driver not in devices.PINNING_DRIVERS:
        return wanted
    return dataclasses.replace(wanted, mac=netdev.address)
