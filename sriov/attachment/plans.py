"""How a VF gets into a pod: the steps, in the order that carries the promises. Pure; attachment carries them out.

The PF states the VLAN before the VF can carry a frame, and with spoof checking on it is told the VF's MAC, so that the
pod is held to it. A VF that has its own address already is told nothing: the PF states all at once. Every other one
takes its address while no MAC is administered, since igbvf refuses it afterwards, and the PF administers it after that,
since igb does not pass it on. The link comes up last. The host never sees the pod's name or MAC: the move renames, and
the MAC follows it.
"""

import dataclasses

from sriov import devices, settings
from sriov.attachment import vf_config
from sriov.hardware import sysfs
from sriov.linux import kernel
from sriov.state import ledger


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Which VF, for whom, how. `mtu` in bytes; None keeps the VF's. `rdma` are the RDMA devices that go with it.

    `rdma_nodes` are the RDMA device nodes that the pod counts on, as in `uverbs3`.

    `named` are the settings that the network names; the others are stated on our own account, and fail nothing. None
    is whatever differs from the baseline. `ipam` is the plugin that gives the pod its addresses; nothing here asks it.
    """

    vf: devices.VF
    owner: ledger.Owner
    wanted: settings.VfSettings
    mtu: int | None = None
    allmulti: bool = False
    rdma: tuple[kernel.RdmaDevice, ...] = ()
    ipam: str = ""
    rdma_nodes: tuple[str, ...] = ()
    named: frozenset[settings.Setting] | None = None

    @property
    def asked(self) -> frozenset[settings.Setting]:
        return settings.asked(self.wanted) if self.named is None else self.named


@dataclasses.dataclass(frozen=True, slots=True)
class StateVf:
    """The PF states the whole VF; `asked` is what of it somebody asked for."""

    target: vf_config.Target
    wanted: settings.VfSettings
    asked: frozenset[settings.Setting] = frozenset()
    infiniband: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """The netdev, `was` its name in the host, goes into the pod under its name there, changed on the way.

    `index` 0 is whichever it has by then.

    `trial`: the change is there for the VF to say something to its PF, and the driver may refuse it.
    """

    pci: devices.PciAddress
    index: int
    was: str
    name: str
    change: kernel.Change = kernel.NOTHING
    trial: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class MoveRdma:
    """An RDMA device follows its netdev. `nodes` are the VF's device nodes, which it is to keep."""

    device: kernel.RdmaDevice
    pci: devices.PciAddress
    nodes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Rebind:
    """The VF's driver is bound anew, and reads the GUID that its PF was told: its netdev is another afterwards.

    `rdma_nodes` as in Request: they may not become others by it.
    """

    pci: devices.PciAddress
    rdma_nodes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Configure:
    """In the pod: address, MTU, flags. `trial` as in Move."""

    name: str
    change: kernel.Change
    trial: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Administer:
    """The PF pins the MAC, so that spoof checking holds the pod to it."""

    target: vf_config.Target
    mac: str
    asked: bool


Step = StateVf | Move | MoveRdma | Configure | Administer | Rebind


def plan(
    target: vf_config.Target | None, netdev: sysfs.Netdev, request: Request, *, heard: bool = False
) -> tuple[Step, ...]:
    """The steps that take a VF from the host, whatever it was left with, to the pod as wanted.

    `netdev` has the VF's own address; `heard`: it is what the VF has, and its PF listens to the VF (mailboxes.Heard).
    Without a PF (`target` None) the VF's own MAC and MTU can be set and nothing else: UnsupportedError.
    """
    if request.vf.infiniband:
        return _infiniband(target, netdev, request)
    mac = pinned(request, netdev.address)
    change = kernel.Change(mtu=request.mtu or netdev.mtu, allmulti=request.allmulti, promisc=False, noarp=False)
    if target is None:
        vf_config.refuse_without_pf(request.wanted, request.asked, has_netdev=True)
        address = netdev.address if mac is None else mac
        return _into_pod(netdev, request, dataclasses.replace(change, address=address, up=True))
    if mac is None:
        return _unpinned(target, netdev, request, change)
    if request.vf.driver in devices.RESET_BY_A_MAC:
        return _reset_by_a_mac(target, netdev, request, change, mac)
    if request.wanted.mac == mac:
        return _given(target, netdev, request, change)
    return _own(target, netdev, request, change, heard)


def pinned(request: Request, own: str) -> str | None:
    """The MAC that the PF is to hold the VF to: what was asked for, or its own, with spoof checking on."""
    wanted = request.wanted
    if request.vf.infiniband:
        return None
    if wanted.mac != settings.NO_MAC:
        return wanted.mac
    holds = not wanted.trust or request.vf.driver in devices.PINNING_DRIVERS
    return own if wanted.spoofchk and holds else None


def _own(
    target: vf_config.Target, netdev: sysfs.Netdev, request: Request, change: kernel.Change, heard: bool
) -> tuple[Step, ...]:
    """The VF's own MAC, pinned: all at once where nothing has to be said by the VF."""
    name, own = request.owner.ifname, netdev.address
    if heard:
        moved = _into_pod(netdev, request, change)
        return (_state(target, request, own), *moved, Configure(name, kernel.Change(up=True)))
    return (
        _state(target, request, settings.NO_MAC),
        *_into_pod(netdev, request, kernel.Change(address=settings.aside(own)), trial=True),
        Configure(name, dataclasses.replace(change, address=own)),
        Administer(target, own, asked=False),
        Configure(name, kernel.Change(up=True)),
    )


def _given(target: vf_config.Target, netdev: sysfs.Netdev, request: Request, change: kernel.Change) -> tuple[Step, ...]:
    """The MAC that was asked for."""
    mac = request.wanted.mac
    return (
        _state(target, request, settings.NO_MAC),
        *_into_pod(netdev, request, dataclasses.replace(change, address=mac)),
        Administer(target, mac, asked=True),
        Configure(request.owner.ifname, kernel.Change(up=True)),
    )


def _reset_by_a_mac(
    target: vf_config.Target, netdev: sysfs.Netdev, request: Request, change: kernel.Change, mac: str
) -> tuple[Step, ...]:
    """The PF does not administer what the VF has already, so that the VF is given another MAC first."""
    return (
        _state(target, request, settings.aside(mac)),
        *_into_pod(netdev, request, change),
        Administer(target, mac, asked=request.wanted.mac == mac),
        Configure(request.owner.ifname, kernel.Change(address=mac, up=True)),
    )


def _unpinned(
    target: vf_config.Target, netdev: sysfs.Netdev, request: Request, change: kernel.Change
) -> tuple[Step, ...]:
    """Clearing the administered MAC made igb forget the VF's own too: the VF has to say it again."""
    elsewhere = kernel.Change(address=settings.aside(netdev.address))
    return (
        _state(target, request, settings.NO_MAC),
        *_into_pod(netdev, request, elsewhere, trial=True),
        Configure(request.owner.ifname, dataclasses.replace(change, address=netdev.address, up=True)),
    )


def _infiniband(target: vf_config.Target | None, netdev: sysfs.Netdev, request: Request) -> tuple[Step, ...]:
    """No address is set: IPoIB makes its own of GUID and queue pair (ipoib_main.c has no function for a VF's)."""
    change = kernel.Change(
        mtu=request.mtu or netdev.mtu, up=True, promisc=False, allmulti=request.allmulti, noarp=False
    )
    if target is None:
        vf_config.refuse_without_pf(request.wanted, request.asked, has_netdev=False)
        return _into_pod(netdev, request, change)
    steps: tuple[Step, ...] = (StateVf(target, request.wanted, request.asked, infiniband=True),)
    if request.wanted.guid not in ("", settings.guid_of(netdev.address)):
        steps = (*steps, Rebind(request.vf.pci, request.rdma_nodes))
        netdev = dataclasses.replace(netdev, index=0)
    return (*steps, *_into_pod(netdev, request, change))


def _state(target: vf_config.Target, request: Request, mac: str) -> StateVf:
    wanted = dataclasses.replace(request.wanted, mac=mac)
    return StateVf(target, wanted, request.asked - {settings.Setting.MAC})


def _into_pod(
    netdev: sysfs.Netdev, request: Request, change: kernel.Change, *, trial: bool = False
) -> tuple[Step, ...]:
    """In one request, since each waits for the moves of other pods; but RDMA devices go while nothing is changed.

    What is up has addresses, of which RoCE makes its GIDs, and those come when the device is where they are.
    """
    pci, name = request.vf.pci, request.owner.ifname
    if not request.rdma:
        return (Move(pci, netdev.index, netdev.name, name, change, trial),)
    follow = (MoveRdma(device, pci, request.rdma_nodes) for device in request.rdma)
    return (Move(pci, netdev.index, netdev.name, name), *follow, Configure(name, change, trial))
