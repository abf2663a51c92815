"""A node in memory whose daemon can die between any two of its effects, and the runtime that calls it.

The calls go to commands.run, as the server makes them; one event loop, no threads, no processes, no time.
"""

import asyncio
import dataclasses
import ipaddress
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Self

from sriov import devices, settings
from sriov.attachment import node
from sriov.linux import kernel, netns
from sriov.state import ledger
from sriov_cni.commands import dispatch, repair
from sriov_cni.context import calls, claims
from sriov_cni.shim import wire
from sriov_cni.spec import cni_errors, environment, netconf
from tests.crash import executors, leases
from tests.fakes import life, memory_kernel, mortal_ledger, world

PF = "0000:01:00.0"
IFNAME = "net1"
Keys = Mapping[str, object]
"""What a network configuration says beside the usual."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the runtime hears. `code` 0 is success; `died` is a daemon that never answered."""

    code: int = 0
    document: Any = None
    message: str = ""
    died: bool = False

    @property
    def ok(self) -> bool:
        return not self.died and self.code == 0


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """How an ADD's two halves meet: after how many turns of the event loop the kernel's and the plugin's come.

    `plugin` is what the IPAM plugin is called: one of those that run beside the VF's move, or another.
    """

    work: int
    ipam: int
    plugin: str = "host-local"


IPAM_LAST = Order(0, 0)
IPAM_FIRST = Order(4, 0)
IPAM_AROUND = Order(2, 6)
IPAM_ON_THE_LINK = Order(2, 2, "dhcp")


class MortalNode:
    """The machine, its ledger's and its IPAM plugin's files in `folder`; `restart` gives it a new daemon.

    It has an event loop and namespaces, which `close` or the end of a `with` gives back.
    """

    def __init__(
        self, folder: pathlib.Path, profile: world.Profile = world.IGB, order: Order = IPAM_LAST, vfs: int = 2
    ) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.machine = world.World(folder)
        self.profile = profile
        self.pf = devices.pci_address(PF)
        self.vfs = self.machine.add_pf(PF, "enp1s0", profile, vfs)
        self.rest = settings.BASELINE
        self.rdma: dict[devices.PciAddress, kernel.RdmaDevice] = {}
        self.identities = {vf: self.machine.netdevs(vf)[0].link for vf in self.vfs}
        self._plugin = order.plugin
        self.ipam = leases.Leases(folder / "leases.json", order.ipam)
        self._runner = asyncio.Runner()
        loop = self._runner.get_loop()
        loop.set_exception_handler(_except_of_the_dead)
        loop.set_default_executor(executors.Later(loop, order.work) if order.work else executors.AtOnce())
        self.restart()

    def give_rdma(self) -> None:
        """An RDMA device for every VF, each in one namespace alone."""
        self.machine.rdma_is_exclusive = True
        self.rdma = {vf: self.machine.add_rdma(vf) for vf in self.vfs}

    def give_address(self) -> None:
        """The node's own: without one there is no host link."""
        index = self.machine.add_link("eth0", self.machine.home)
        with memory_kernel.opener(self.machine)() as net:
            net.add_address(index, ipaddress.ip_interface("192.0.2.10/24"))

    def declare(self, declared: settings.Switches) -> None:
        """What provisioning does: it is written down of every VF, and the VF is put to it."""
        self.rest = declared.over(settings.BASELINE)
        for vf in self.vfs:
            self.book.defaults.declare(self.machine.node.tree, vf, declared)
            [device] = self.machine.netdevs(vf)
            assert device.slot is not None
            self.machine.administer(*device.slot, self.rest)

    def restart(self) -> None:
        """A new daemon: nothing of the old one's memory, all of its files."""
        self.life = self.machine.life = life.Life()
        self.book = mortal_ledger.MortalLedger(self.run_dir, self.life)
        self.book.create()
        opener = memory_kernel.opener(self.machine)
        here = node.Node(self.machine.node.tree, opener, self.machine.home, patience=0)
        known = claims.PodClaims(self.run_dir)
        known.calls = mortal_ledger.MortalClaimAttachments(self.run_dir, self.life)
        self._daemon = calls.Daemon(here, self.book, claims=known)
        self._runner.run(repair.get_to_know(self._daemon))

    def close(self) -> None:
        self._runner.close()
        self.machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pod(self, name: str) -> None:
        """Let there be a namespace of this name."""
        self.machine.namespace(name).close()

    def records(self) -> dict[devices.PciAddress, ledger.Record]:
        """What a process that only reads sees, whoever is dead."""
        return {record.pci: record for record in ledger.Ledger(self.run_dir).records()}

    def repair(self) -> Answer:
        """What a daemon does at its start and now and then."""
        try:
            self._runner.run(repair.repair(self._daemon))
        except life.Killed:
            return Answer(died=True)
        return Answer()

    def add(self, container: str, keys: Keys, vf: int = 0) -> Answer:
        return self.call("ADD", container, vf, container, keys)

    def delete(self, container: str, vf: int = 0, netns_name: str | None = None) -> Answer:
        """With "" for `netns_name` the runtime does not know the namespace any more."""
        return self.call("DEL", container, vf, container if netns_name is None else netns_name, {})

    def call(self, command: str, container: str, vf: int, netns_name: str, keys: Keys, *, args: str = "") -> Answer:
        document: dict[str, object] = {
            "cniVersion": "1.1.0",
            "name": "n1",
            "type": "sriov",
            "ipam": {"type": self._plugin},
        }
        stdin = json.dumps(document | {"deviceID": self.vfs[vf], **keys}).encode()
        env = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": IFNAME, "CNI_PATH": "/opt/cni/bin"}
        env["CNI_ARGS"] = args
        env["CNI_NETNS"] = self.machine.path(netns_name) if netns_name else ""
        invocation = environment.invocation(env, environment.arguments(env.get("CNI_ARGS", "")))
        pod = self.machine.namespace(netns_name) if self._exists(netns_name) else None

        async def ipam(verb: str, plugin: str) -> wire.Outcome:
            if plugin != self._plugin:
                return await self._no_plugin(plugin)
            return await self.ipam.run(verb, (container, IFNAME), self.life)

        async def ipam_as(verb: str, _: str, own: wire.OwnCall) -> wire.Outcome:
            return await self.ipam.run(verb, (container, own.variables["CNI_IFNAME"]), self.life)

        try:
            return self._runner.run(self._answer(calls.Call(invocation, netconf.decode(stdin), pod, ipam, ipam_as)))
        except life.Killed:
            return Answer(died=True)
        finally:
            _close(pod)

    async def _no_plugin(self, name: str) -> wire.Outcome:
        self.life.effect(f"ask for {name}")
        await asyncio.sleep(0)
        self.life.effect(f"hear of {name}")
        return wire.Outcome(wire.NO_PLUGIN, b"")

    async def _answer(self, call: calls.Call) -> Answer:
        try:
            stdout = await dispatch.run(self._daemon, call)
            answer = Answer(0, json.loads(stdout) if stdout else None)
        except cni_errors.CniError as error:
            answer = Answer(int(error.code), None, f"{error.message}; {error.details}")
        self.life.effect("answer")
        return answer

    def _exists(self, name: str) -> bool:
        return name in self.machine.namespaces().values()


def _close(pod: netns.Netns | None) -> None:
    if pod is not None:
        pod.close()


def _except_of_the_dead(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Nobody waits for what a dead daemon was doing beside."""
    if not isinstance(context.get("exception"), life.Killed):
        loop.default_exception_handler(context)
