"""Plan of an attachment: the steps that bring a VF into a pod, in a safe order. Pure; `attach` carries them out.

The PF states the VLAN before the VF can carry a frame. With spoof checking on, the PF is also told the VF's MAC, so
that it holds the pod to it. A VF that already has its own address need not report it: the PF states everything at once.
Every other VF takes its address while no MAC is administered, since igbvf refuses it afterwards; the PF administers the
MAC after that, since igb does not pass it on to the VF. The link comes up last. The host never sees the pod's name or
MAC: the move renames the netdev, and the MAC is set after it.
"""

import msgspec

from sriov import devices, settings
from sriov.attachment import vf_config
from sriov.hardware import sysfs
from sriov.linux import kernel
from sriov.state import ledger


class Request(msgspec.Struct, frozen=True):
    """Request to attach `vf` for `owner`, with the settings `wanted`.

    `mtu` is in bytes; None keeps the VF's. `rdma` are the RDMA devices that move with the VF. `rdma_nodes` are the RDMA
    device nodes that the pod was given, as in `uverbs3`. `named` are the settings that the network names; if it is
    None, they are those that differ from the baseline. All others are stated on our own account, and their refusal
    fails nothing. `ipam` is the plugin that gives the pod its addresses; nothing in this package runs it.
    `services_mode` is the way to Services in effect and `services_reason` why, `cookie` the number by which the kernel
    knows the pod's namespace if its sockets reach Services. `host_link` is what others make when the pod has its
    addresses; it goes with the VF. `policy` is what others hold the pod to; if it is for packet sockets, the VF comes
    up in a request of its own.
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
    services_mode: str = ""
    services_reason: str = ""
    cookie: int = 0
    host_link: ledger.HostLink | None = None
    policy: ledger.PolicyHold | None = None

    @property
    def asked(self) -> frozenset[settings.Setting]:
        return settings.asked(self.wanted) if self.named is None else self.named


class StateVf(msgspec.Struct, frozen=True):
    """The PF states the whole VF; `asked` are the settings that somebody asked for."""

    target: vf_config.Target
    wanted: settings.VfSettings
    asked: frozenset[settings.Setting] = frozenset()
    infiniband: bool = False


class Move(msgspec.Struct, frozen=True):
    """The netdev moves into the pod and gets its name there. `was` is its name in the host.

    `index` 0 means the index that it has when the step is carried out. The move also makes `change`. With `trial` the
    change only makes the VF report something to its PF, and the driver may refuse it.
    """

    pci: devices.PciAddress
    index: int
    was: str
    name: str
    change: kernel.Change = kernel.NOTHING
    trial: bool = False


class MoveRdma(msgspec.Struct, frozen=True):
    """An RDMA device follows its netdev. `nodes` are the VF's device nodes, which must stay the same."""

    device: kernel.RdmaDevice
    pci: devices.PciAddress
    nodes: tuple[str, ...] = ()


class Rebind(msgspec.Struct, frozen=True):
    """The VF's driver is unbound and bound again, so that it reads the GUID that its PF was told: a new netdev appears.

    `rdma_nodes` as in Request: they must not change by it.
    """

    pci: devices.PciAddress
    rdma_nodes: tuple[str, ...]


class Configure(msgspec.Struct, frozen=True):
    """The netdev in the pod gets an address, an MTU or flags. `trial` as in Move."""

    name: str
    change: kernel.Change
    trial: bool = False


class Administer(msgspec.Struct, frozen=True):
    """The PF pins the MAC, so that spoof checking holds the pod to it."""

    target: vf_config.Target
    mac: str
    asked: bool


Step = StateVf | Move | MoveRdma | Configure | Administer | Rebind


def plan(
    target: vf_config.Target | None, netdev: sysfs.Netdev, request: Request, *, heard: bool = False
) -> tuple[Step, ...]:
    """Return the steps that bring a VF from the host, in whatever state it was left, into the pod with its settings.

    `netdev` has the VF's own address. `heard` means that the VF has that address and its PF listens to the VF
    (mailboxes.Heard). Without a PF (`target` None) only the VF's own MAC and MTU can be set: UnsupportedError for
    anything else.
    """
    if request.vf.infiniband:
        return _infiniband(target, netdev, request)
    mac = pinned(request, netdev.address)
    change = kernel.Change(mtu=request.mtu or netdev.mtu, allmulti=request.allmulti, promisc=False, noarp=False)
    if target is None:
        vf_config.refuse_without_pf(request.wanted, request.asked, has_netdev=True)
        address = netdev.address if mac is None else mac
        return _into_pod(netdev, request, msgspec.structs.replace(change, address=address, up=True))
    if mac is None:
        return _unpinned(target, netdev, request, change)
    if request.vf.driver in devices.RESET_BY_A_MAC:
        return _reset_by_a_mac(target, netdev, request, change, mac)
    if request.wanted.mac == mac:
        return _given(target, netdev, request, change)
    return _own(target, netdev, request, change, heard)


def pinned(request: Request, own: str) -> str | None:
    """Return the MAC that the PF holds the VF to: the requested one, the VF's own if spoof checking is on, or None."""
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
    """Plan for the VF's own MAC, pinned: one statement by the PF if the VF need not report it."""
    name, own = request.owner.ifname, netdev.address
    if heard:
        moved = _into_pod(netdev, request, change)
        return (_state(target, request, own), *moved, Configure(name, kernel.Change(up=True)))
    return (
        _state(target, request, settings.NO_MAC),
        *_into_pod(netdev, request, kernel.Change(address=settings.aside(own)), trial=True),
        Configure(name, msgspec.structs.replace(change, address=own)),
        Administer(target, own, asked=False),
        Configure(name, kernel.Change(up=True)),
    )


def _given(target: vf_config.Target, netdev: sysfs.Netdev, request: Request, change: kernel.Change) -> tuple[Step, ...]:
    """Plan for a MAC that the network asks for."""
    mac = request.wanted.mac
    return (
        _state(target, request, settings.NO_MAC),
        *_into_pod(netdev, request, msgspec.structs.replace(change, address=mac)),
        Administer(target, mac, asked=True),
        Configure(request.owner.ifname, kernel.Change(up=True)),
    )


def _reset_by_a_mac(
    target: vf_config.Target, netdev: sysfs.Netdev, request: Request, change: kernel.Change, mac: str
) -> tuple[Step, ...]:
    """Plan for drivers whose PF does not administer the MAC the VF already has: it gets another MAC first."""
    return (
        _state(target, request, settings.aside(mac)),
        *_into_pod(netdev, request, change),
        Administer(target, mac, asked=request.wanted.mac == mac),
        Configure(request.owner.ifname, kernel.Change(address=mac, up=True)),
    )


def _unpinned(
    target: vf_config.Target, netdev: sysfs.Netdev, request: Request, change: kernel.Change
) -> tuple[Step, ...]:
    """Plan without a pinned MAC: clearing the administered one makes igb forget the VF's own, so the VF reports it."""
    elsewhere = kernel.Change(address=settings.aside(netdev.address))
    return (
        _state(target, request, settings.NO_MAC),
        *_into_pod(netdev, request, elsewhere, trial=True),
        Configure(request.owner.ifname, msgspec.structs.replace(change, address=netdev.address, up=True)),
    )


def _infiniband(target: vf_config.Target | None, netdev: sysfs.Netdev, request: Request) -> tuple[Step, ...]:
    """Plan for InfiniBand. No address is set: IPoIB makes its own from GUID and queue pair.

    ipoib_main.c has no function that sets a VF's address.
    """
    change = kernel.Change(
        mtu=request.mtu or netdev.mtu, up=True, promisc=False, allmulti=request.allmulti, noarp=False
    )
    if target is None:
        vf_config.refuse_without_pf(request.wanted, request.asked, has_netdev=False)
        return _into_pod(netdev, request, change)
    steps: tuple[Step, ...] = (StateVf(target, request.wanted, request.asked, infiniband=True),)
    if request.wanted.guid not in ("", settings.guid_of(netdev.address)):
        steps = (*steps, Rebind(request.vf.pci, request.rdma_nodes))
        netdev = msgspec.structs.replace(netdev, index=0)
    return (*steps, *_into_pod(netdev, request, change))


def _state(target: vf_config.Target, request: Request, mac: str) -> StateVf:
    wanted = msgspec.structs.replace(request.wanted, mac=mac)
    return StateVf(target, wanted, request.asked - {settings.Setting.MAC})


def _into_pod(
    netdev: sysfs.Netdev, request: Request, change: kernel.Change, *, trial: bool = False
) -> tuple[Step, ...]:
    """Move and change in one request, since each waits for the moves of other pods; but with RDMA devices in two.

    A netdev that is up has addresses, of which RoCE makes its GIDs, and these must come when the RDMA device is in
    its place. So the move changes nothing, the RDMA devices follow, and the change comes last.
    """
    pci, name = request.vf.pci, request.owner.ifname
    if not request.rdma and change.up and request.policy is not None and request.policy.raw:
        moved = Move(pci, netdev.index, netdev.name, name, msgspec.structs.replace(change, up=None), trial)
        return (moved, Configure(name, kernel.Change(up=True)))
    if not request.rdma:
        return (Move(pci, netdev.index, netdev.name, name, change, trial),)
    follow = (MoveRdma(device, pci, request.rdma_nodes) for device in request.rdma)
    return (Move(pci, netdev.index, netdev.name, name), *follow, Configure(name, change, trial))
