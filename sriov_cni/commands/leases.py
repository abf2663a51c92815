"""An ADD's address: the IPAM plugin asked for it, and asked to take it back where the ADD fails after all."""

import asyncio
import dataclasses
from collections.abc import Coroutine
from typing import Any

from sriov import devices
from sriov_cni.context import calls, ipam, locks
from sriov_cni.context.calls import Call, Daemon, log
from sriov_cni.spec import cni_errors, netconf, result


@dataclasses.dataclass(frozen=True, slots=True)
class Leasing:
    """What one ADD wants of its IPAM plugin, whose work is `task` from begin() on. `vf` is what the ADD attaches."""

    daemon: Daemon
    held: locks.Held
    call: Call
    network: netconf.Network
    vf: devices.PciAddress

    def begin(self) -> asyncio.Task[result.Result]:
        """Have the plugin work: addresses and routes, none where there is no plugin; or CniError."""
        return asyncio.create_task(_lease(self.call, self.network))

    async def undo(self, task: asyncio.Task[result.Result]) -> None:
        """Undo an IPAM ADD, also one that failed: it may have noted something down all the same (CNI spec, section 4).

        Not where the interface has a VF, whose way home comes first here: the address that goes by its name is in use.
        """
        if await self._has_failed(task) and await asyncio.to_thread(calls.find, self.daemon, self.call, None) is None:
            await self._release()

    async def undo_with(self, task: asyncio.Task[result.Result], take_back: Coroutine[Any, Any, None]) -> None:
        """The same, with the VF taken back afterwards, where the plugin works on the link.

        Not where the interface has another VF.
        """
        await calls.with_ipam(self.daemon, self.network, self._undo_on_the_link(task), take_back)

    async def _undo_on_the_link(self, task: asyncio.Task[result.Result]) -> None:
        if await self._has_failed(task) and not await asyncio.to_thread(self._has_another_vf):
            await self._release()

    async def _has_failed(self, task: asyncio.Task[result.Result]) -> bool:
        """Whether there is a plugin, which has ended by then, and may have left something."""
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        return bool(self.network.ipam)

    def _has_another_vf(self) -> bool:
        return any(self.call.owns(each) and each.pci != self.vf for each in self.daemon.book.records())

    async def _release(self) -> None:
        try:
            await self.call.release_address(self.network)
        except cni_errors.CniError as error:
            log.error("IPAM DEL after a failed ADD of %s: %s", self.call.invocation.container_id, error)


async def _lease(call: Call, network: netconf.Network) -> result.Result:
    if not network.ipam:
        return result.Result()
    return ipam.lease(network.ipam, await call.run_ipam("ADD", network.ipam))
