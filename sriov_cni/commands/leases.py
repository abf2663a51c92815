"""IPAM of an ADD: the plugin is asked for an address, and asked to take it back if the ADD fails."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from sriov import devices
from sriov_cni.context import calls, ipam, locks
from sriov_cni.context.calls import Call, Daemon, log
from sriov_cni.spec import cni_errors, netconf, result


class Leasing(msgspec.Struct, frozen=True):
    """One ADD's use of its IPAM plugin; begin() starts it as a task. `vf` is the VF that the ADD attaches."""

    daemon: Daemon
    held: locks.Held
    call: Call
    network: netconf.Network
    vf: devices.PciAddress

    def begin(self) -> asyncio.Task[result.Result]:
        """Start the plugin. The task returns addresses and routes, none without a plugin; or raises CniError."""
        return asyncio.create_task(_lease(self.call, self.network))

    async def undo(self, task: asyncio.Task[result.Result]) -> None:
        """Undo an IPAM ADD, even a failed one: the plugin may have stored something all the same (CNI spec, section 4).

        Not if the interface has a VF, which is taken back first here: the address of that interface is in use.
        """
        if await self._has_failed(task) and await asyncio.to_thread(calls.find, self.daemon, self.call, None) is None:
            await self._release()

    async def undo_with(self, task: asyncio.Task[result.Result], take_back: Coroutine[Any, Any, None]) -> None:
        """Undo an IPAM ADD, then take the VF back, for a plugin that works on the link.

        Not if the interface has another VF.
        """
        await calls.with_ipam(self.daemon, self.network, self._undo_on_the_link(task), take_back)

    async def _undo_on_the_link(self, task: asyncio.Task[result.Result]) -> None:
        if await self._has_failed(task) and not await asyncio.to_thread(self._has_another_vf):
            await self._release()

    async def _has_failed(self, task: asyncio.Task[result.Result]) -> bool:
        """Wait until the plugin has ended; returns whether there is one, which may have left something."""
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
