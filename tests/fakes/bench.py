"""Node in memory with VFs and one pod, and what an attachment on it needs."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

from sriov import devices, settings
from sriov.attachment import attach, cleaning, detach, node, plans
from sriov.linux import kernel, netns
from sriov.state import ledger
from tests.fakes import attributes, memory_kernel, world

MAC = "02:00:00:00:cc:01"
WANTED = settings.VfSettings(mac=MAC, vlan=100, qos=3, spoofchk=False, trust=True, max_tx_rate=200)


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    machine: world.World
    node: node.Node
    book: ledger.Ledger
    pod: netns.Netns
    vfs: tuple[devices.PciAddress, ...]

    def request(self, wanted: settings.VfSettings = WANTED, vf: int = 0, **owner: str) -> plans.Request:
        who = {"container_id": "c1", "ifname": "net1", "network": "n1", "netns": "/run/netns/pod"} | owner
        return plans.Request(self.node.lookup(self.vfs[vf]), ledger.Owner(**who), wanted)

    def attach(self, request: plans.Request) -> kernel.Link:
        return attach.attach(self.node, self.book, request, self.pod)

    def detach(self, vf: int = 0, pod: netns.Netns | None = None) -> None:
        record = self.book.read(self.vfs[vf])
        assert record is not None
        detach.detach(self.node, self.book, record, pod)

    def in_pod(self, name: str = "net1") -> kernel.Link:
        return memory_kernel.MemoryKernel(self.machine, self.pod.identity).link(name)

    def at_home(self, name: str) -> kernel.Link:
        return memory_kernel.MemoryKernel(self.machine, self.machine.home.identity).link(name)

    def vf_state(self, vf: int = 0) -> settings.VfSettings:
        """Return the VF as the PF shows it."""
        net = memory_kernel.MemoryKernel(self.machine, self.machine.home.identity)
        return net.vf(net.link("enp1s0").index, vf)


def own(vf: int = 0) -> settings.VfSettings:
    """Return what the PF states for a pod that asks for nothing: the baseline, and the VF's own MAC pinned."""
    return settings.VfSettings(mac=f"02:00:00:02:00:{vf:02x}")


def make(folder: pathlib.Path, profile: world.Profile = world.IGB) -> Bench:
    machine = world.World(folder)
    vfs = machine.add_pf("0000:01:00.0", "enp1s0", profile)
    book = ledger.Ledger(folder / "run")
    book.create()
    patience = 10 if profile.resetting else 0
    here = node.Node(
        machine.node.tree,
        memory_kernel.opener(machine),
        machine.home,
        patience=patience,
        writer=attributes.WorldAttributes(machine),
    )
    get_to_know(here, book, vfs)
    return Bench(machine, here, book, machine.namespace("pod"), vfs)


def get_to_know(here: node.Node, book: ledger.Ledger, vfs: Sequence[devices.PciAddress]) -> None:
    """Note the VFs' addresses as the daemon does at its start."""
    for pci in vfs:
        netdev = here.tree.netdev(pci)
        if netdev is not None:
            with here.kernel() as net:
                book.identities.settle(
                    here.tree, pci, netdev, functools.partial(cleaning.first_look, net, netdev.index)
                )
