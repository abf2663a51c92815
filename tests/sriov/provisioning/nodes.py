"""A node in memory with two PFs, seen and changed by the code that does so on a machine."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

from sriov import devices
from sriov.provisioning import apply, document, machine, model, observe, plan, steps
from sriov.state import ledger
from tests.fakes import attributes, memory_kernel, world

PF0 = devices.pci_address("0000:01:00.0")
PF1 = devices.pci_address("0000:02:00.0")


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """`vfs` are the first PF's, `pods` what the kubelet says."""

    world: world.World
    writes: attributes.WorldAttributes
    switches: attributes.WorldSwitches
    machine: machine.Machine
    book: ledger.Ledger
    pods: dict[str, str]

    def seen(self) -> model.NodeFacts:
        return observe.observe(self.machine.node)

    def pf(self, number: int = 0) -> model.Pf:
        return self.seen().pfs[number]

    def plan(self, text: str) -> plan.Plan:
        """What the file, in YAML, would have done."""
        return plan.make(self.seen(), document.parse(text.encode(), "node.yaml"))

    def unanswered(self, *vfs: int) -> None:
        """The drivers of these VFs of eth1 do not hear, when they are bound next, which address is administered."""
        with self.machine.node.kernel() as net:
            table = self.world.pf(net.link("eth1").index)
        assert table is not None
        table.unanswered.update(vfs)

    def apply(self, text: str) -> tuple[steps.ProvisioningStep, ...]:
        """Plan and do; the plan must not be refused."""
        planned = self.plan(text)
        assert planned.refusals == ()
        apply.apply(self.machine, planned.steps)
        return planned.steps


@contextlib.contextmanager
def made(folder: pathlib.Path, vfs: int = 0, profile: world.Profile = world.IGB) -> Iterator[Node]:
    """PFs eth1 and eth2, of 7 VFs at most."""
    machine_world = world.World(folder / "world")
    for pci, name in ((PF0, "eth1"), (PF1, "eth2")):
        machine_world.add_pf(pci, name, profile, vfs)
    writes, pods = attributes.WorldAttributes(machine_world), dict[str, str]()
    switches = attributes.WorldSwitches(machine_world, {})
    book = ledger.Ledger(folder / "run")
    book.create()
    node = observe.NodeAccess(
        machine_world.node.tree,
        folder / "proc",
        book,
        memory_kernel.opener(machine_world),
        lambda: contextlib.nullcontext(switches),
        lambda: pods,
    )
    yield Node(machine_world, writes, switches, machine.Machine(node, writes, patience=0.05), book, pods)
    machine_world.close()
