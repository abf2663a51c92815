"""ADD, DEL, CHECK and VERSION: what each promises, in the order that keeps the promise.

Kernel work is done in threads, since one request may wait 20 ms for the kernel: VFs of different pods go in parallel,
and one VF is worked on by one call at a time.
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable

import msgspec

from sriov import attachment, detachment, devices, errors, kernel, ledger, netns
from sriov.node import Node
from sriov_cni import checking, conf, failure, ipam, locks, result, skel, wire
from sriov_cni.failure import Code

_log = logging.getLogger(__name__)

RunIpam = Callable[[str, str], Awaitable[wire.Outcome]]
"""Runs an IPAM plugin where the shim is: CNI_COMMAND and plugin name to outcome."""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call as the shim sent it. `pod` is the open namespace, None where there is none; who made it closes it."""

    invocation: skel.Invocation
    stdin: bytes
    pod: netns.Netns | None
    run_ipam: RunIpam

    def owns(self, record: ledger.Record | None) -> bool:
        return record is not None and record.belongs_to(self.invocation.container_id, self.invocation.ifname)


class Commands:
    """The commands on one node. All calls of a node go through one instance: it has the locks."""

    def __init__(self, node: Node, book: ledger.Ledger) -> None:
        self._node = node
        self._book = book
        self._locks = locks.VfLocks()

    async def run(self, call: Call) -> bytes:
        """What goes to stdout. Raises CniError; every failure of the layers below is one."""
        commands = {
            skel.Command.ADD: self._add,
            skel.Command.DEL: self._del,
            skel.Command.CHECK: self._check,
            skel.Command.VERSION: self._version,
        }
        try:
            return await commands[call.invocation.command](call)
        except errors.SriovError as error:
            raise failure.from_sriov(error) from error

    async def give_up(self, call: Call) -> None:
        """The runtime is gone and will not learn that its ADD succeeded: take the VF back."""
        if call.invocation.command is not skel.Command.ADD:
            return
        try:
            await self._give_back(call, None)
        except errors.SriovError as error:
            _log.error("VF of %s is left to be restored by its DEL: %s", call.invocation.container_id, error)

    async def _add(self, call: Call) -> bytes:
        network, wanted, pod = _checked_add(call, self._node.home)
        vf = self._usable_vf(wanted)
        request = attachment.Request(vf, _owner(call.invocation, network), wanted.wanted, wanted.mtu)
        async with self._locks.of(vf.pci), contextlib.AsyncExitStack() as undo:
            await asyncio.to_thread(self._end_former_owner, request)
            leasing = asyncio.create_task(_lease(call, network))
            undo.push_async_callback(_release, call, network, leasing)
            link = await asyncio.to_thread(attachment.attach, self._node, self._book, request, pod)
            undo.push_async_callback(self._undo, vf.pci, pod)
            leased = await leasing
            addressing = result.addressing(leased, f"the answer of IPAM plugin {network.ipam!r}")
            await asyncio.to_thread(self._configure, pod, link, addressing)
            undo.pop_all()
        interface = result.Interface(link.name, link.address, link.mtu, call.invocation.netns, vf.pci)
        return result.encode(result.of_pod(interface, leased), network.version)

    async def _del(self, call: Call) -> bytes:
        """The VF and the address are given back each whatever becomes of the other."""
        network = conf.network(call.stdin)
        releasing = asyncio.create_task(_run_ipam(call, network))
        try:
            await self._give_back(call, network.device)
        finally:
            await asyncio.wait([releasing])
        releasing.result()
        return b""

    async def _check(self, call: Call) -> bytes:
        network = conf.network(call.stdin)
        if network.version in conf.WITHOUT_CHECK:
            raise failure.CniError(
                Code.INCOMPATIBLE_VERSION, f"cniVersion {network.version} does not allow CHECK", "it came with 0.4.0"
            )
        if network.prev_result is None:
            raise failure.CniError(Code.INVALID_CONFIG, "CHECK without prevResult", "the runtime passes ADD's result")
        pod = _pod(call, self._node.home)
        previous = result.decode(network.prev_result, "prevResult")
        record = await asyncio.to_thread(self._find, call, network.device)
        if record is None:
            raise failure.CniError(Code.CHECK, "this attachment is not in the ledger", "recreate the pod")
        async with self._locks.of(record.pci):
            await asyncio.to_thread(checking.check, self._node, record, pod, previous)
        await _run_ipam(call, network)
        return b""

    async def _version(self, call: Call) -> bytes:
        answer = {"cniVersion": conf.version(call.stdin), "supportedVersions": conf.VERSIONS}
        return msgspec.json.encode(answer) + b"\n"

    async def _give_back(self, call: Call, device: devices.PciAddress | None) -> None:
        record = await asyncio.to_thread(self._find, call, device)
        if record is None:
            return
        async with self._locks.of(record.pci):
            # Another call may have been quicker, and the VF may be somebody else's by now.
            record = self._book.read(record.pci)
            if record is not None and call.owns(record):
                await asyncio.to_thread(detachment.detach, self._node, self._book, record, call.pod)

    def _find(self, call: Call, device: devices.PciAddress | None) -> ledger.Record | None:
        record = self._book.read(device) if device else None
        if call.owns(record):
            return record
        return self._book.find(call.invocation.container_id, call.invocation.ifname)

    def _usable_vf(self, wanted: conf.Attachment) -> devices.VF:
        vf = self._node.lookup(wanted.pci)
        if vf.driver is None:
            raise errors.DeviceError(
                f"VF {vf.pci} has no driver", "bind it to its kernel driver, such as igbvf or iavf"
            )
        pf = self._node.tree.netdev(vf.pf)
        if wanted.mtu and pf and wanted.mtu > pf.mtu:
            raise errors.SettingError(
                f"mtu {wanted.mtu} exceeds the {pf.mtu} of PF {pf.name}", f"raise the PF's, or use at most {pf.mtu}"
            )
        return vf

    def _end_former_owner(self, request: attachment.Request) -> None:
        """A VF that is back in the host has lost its owner: finish that detach first."""
        record = self._book.read(request.vf.pci)
        if record is None:
            return
        if self._node.tree.netdev(request.vf.pci) is None:
            raise errors.BusyError(
                f"VF {record.pci} is held by container {record.owner.container_id} as {record.owner.ifname}",
                "its DEL has not come yet; try again later",
            )
        detachment.detach(self._node, self._book, record, None)

    def _configure(self, pod: netns.Netns, link: kernel.Link, addressing: result.Addressing) -> None:
        if not addressing.addresses:
            return
        with self._node.kernel() as net, net.inside(pod) as inner:
            ipam.configure(inner, link.index, addressing)

    async def _undo(self, pci: devices.PciAddress, pod: netns.Netns) -> None:
        record = self._book.read(pci)
        if record is not None:
            await asyncio.to_thread(attachment.undo, self._node, self._book, record, pod)


def _checked_add(call: Call, home: netns.Netns) -> tuple[conf.Network, conf.Attachment, netns.Netns]:
    """Everything that can be refused without looking at the node."""
    network = conf.network(call.stdin)
    wanted = conf.attachment(call.stdin, call.invocation.args)
    if network.prev_result is not None:
        raise failure.CniError(
            Code.INVALID_CONFIG, "prevResult: this plugin cannot be chained behind another", "put it first in `plugins`"
        )
    if network.ipam and not call.invocation.path:
        raise failure.CniError(
            Code.INVALID_ENVIRONMENT, "required variables are missing: CNI_PATH", f"{network.ipam} is looked for there"
        )
    return network, wanted, _pod(call, home)


def _pod(call: Call, home: netns.Netns) -> netns.Netns:
    path = call.invocation.netns
    if call.pod is None:
        raise failure.CniError(
            Code.INVALID_ENVIRONMENT, f"CNI_NETNS {path!r} is not a network namespace", "does the pod still exist?"
        )
    if call.pod.identity == home.identity:
        raise failure.CniError(
            Code.INVALID_NETNS, f"CNI_NETNS {path!r} is the host's own namespace", "a VF goes into a pod's"
        )
    return call.pod


def _owner(invocation: skel.Invocation, network: conf.Network) -> ledger.Owner:
    return ledger.Owner(
        container_id=invocation.container_id, ifname=invocation.ifname, network=network.name, netns=invocation.netns
    )


async def _run_ipam(call: Call, network: conf.Network) -> None:
    """The call's own command, handed on to the IPAM plugin."""
    if network.ipam:
        ipam.check(network.ipam, await call.run_ipam(call.invocation.command.value, network.ipam))


async def _lease(call: Call, network: conf.Network) -> result.Result:
    if not network.ipam:
        return result.Result()
    return ipam.lease(network.ipam, await call.run_ipam("ADD", network.ipam))


async def _release(call: Call, network: conf.Network, leasing: asyncio.Task[result.Result]) -> None:
    """Undo an IPAM ADD, also one that failed: it may have noted something down all the same (CNI spec, section 4)."""
    await asyncio.wait([leasing])
    leasing.exception()
    if not network.ipam:
        return
    try:
        ipam.check(network.ipam, await call.run_ipam("DEL", network.ipam))
    except failure.CniError as error:
        _log.error("IPAM DEL after a failed ADD of %s: %s", call.invocation.container_id, error)
