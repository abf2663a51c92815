"""CHECK and STATUS: whether the pod's VF is still as ADD made it, and whether another ADD could succeed. Reads only.

Source: CNI spec 1.1, CHECK and STATUS. prevResult includes the changes of chained plugins, so the netdev is compared
with it; the PF's settings are compared with the ledger. What others may change as they like is not compared: MTU,
flags, queues, and the address of a VF that has become part of a bond or the like.
"""

import asyncio
import errno
import ipaddress
import logging
from collections.abc import Sequence

import msgspec

from sriov import errors, settings
from sriov.attachment import vf_config, wishes
from sriov.attachment.node import Node
from sriov.daemon import logs
from sriov.linux import kernel, netns
from sriov.state import ledger
from sriov_cni.context import calls, ipam
from sriov_cni.context.calls import Call, Daemon
from sriov_cni.spec import cni_errors, netconf, result
from sriov_cni.spec.cni_errors import Code

_log = logging.getLogger(__name__)


async def check(daemon: Daemon, call: Call) -> bytes:
    """Run the CNI command CHECK."""
    network = netconf.existing(call.document)
    netconf.needs_version(network, "CHECK", "0.4.0")
    if network.prev_result is None:
        raise cni_errors.CniError(Code.INVALID_CONFIG, "CHECK without prevResult", "the runtime passes ADD's result")
    pod = call.needs_pod(daemon.node.home)
    previous = result.previous(network.prev_result).result
    record = await asyncio.to_thread(calls.find, daemon, call, network.device)
    if record is None:
        raise cni_errors.CniError(Code.CHECK, "this attachment is not in the ledger", "recreate the pod")
    logs.about(vf=record.pci)
    async with daemon.vf_locks.of(record.pci) as held:
        await held.run(_compare, daemon.node, record, pod, previous)
        await held.run(_check_services, daemon, record)
        if record.policy is not None:
            await held.run(_check_policies, daemon, record, record.policy, pod)
    await call.hand_to_ipam(network)
    return b""


async def status(daemon: Daemon, call: Call) -> bytes:
    """Run the CNI command STATUS: the ledger can be written, the kernel answers, the IPAM plugin is ready.

    A lack of free VFs is no failure: the device plugin counts them, and this answer is for the whole node.
    """
    network = netconf.network(call.document)
    netconf.needs_version(network, "STATUS", "1.1.0")
    try:
        await asyncio.to_thread(_try_out, daemon)
    except errors.SriovError as error:
        raise cni_errors.CniError(
            Code.NOT_AVAILABLE, f"no VF can be attached: {error.message}", error.remedy
        ) from error
    await call.hand_to_ipam(network)
    return b""


def _try_out(daemon: Daemon) -> None:
    daemon.book.try_out()
    with daemon.node.kernel() as net:
        net.links()


def _check_services(daemon: Daemon, record: ledger.Record) -> None:
    """Raises CniError with code 101 if the pod was to reach Services and does not."""
    if record.cookie and (daemon.translation is None or record.cookie not in daemon.translation.admitted()):
        raise cni_errors.CniError(
            Code.CHECK, "the pod's sockets do not reach Services", "start the daemon with --services DIR"
        )


def _check_policies(daemon: Daemon, record: ledger.Record, hold: ledger.PolicyHold, pod: netns.Netns) -> None:
    """Raises CniError with code 101 if the pod's rules for its network policies are not what was put in force."""
    # Only a pod that is held to policies pays for it.
    from sriov_cni.dataplane.policies import policy_holdings  # noqa: PLC0415

    name = record.owner.ifname
    if daemon.policies is None or daemon.enforcement is None:
        raise cni_errors.CniError(
            Code.CHECK,
            f"nobody keeps the rules of interface {name} for its network policies",
            "start the daemon with --policy-socket, and sriov-agent",
        )
    holding = policy_holdings.of(record.owner, hold, record.host_link, record.netns)
    with daemon.node.kernel() as net, net.inside(pod) as inner:
        found = daemon.enforcement.difference(inner, holding, daemon.policies.rules_of)
    if found:
        raise cni_errors.CniError(
            Code.CHECK,
            f"interface {name} is not held to its network policies: {found}",
            "the daemon restores rules within 5 seconds; if it stays so, see `sriovctl doctor` on the node",
        )


def _compare(node: Node, record: ledger.Record, pod: netns.Netns, previous: result.Result) -> None:
    """Compare the VF. Raises CniError with code 101 that names the first difference."""
    vf = node.lookup(record.pci)
    address = None
    with node.kernel() as net:
        if record.home is not None:
            with net.inside(pod) as inner:
                address = _compare_netdev(inner, record, previous)
                _compare_rdma(inner, record)
                if record.host_link is not None:
                    _compare_host_link(net, inner, record.host_link, _ours(previous, record.owner.ifname).addresses)
        target = node.target(vf, settings.NO_MAC)
        if target is not None and (found := _seen(net, target, record)):
            stated = settings.EVERY_SETTING
            if vf.infiniband:
                stated = wishes.of_infiniband(record.wanted, frozenset()).which
            _check_vf(_as_asked(found, record, address), record, stated)


def _seen(net: kernel.Kernel, target: vf_config.Target, record: ledger.Record) -> settings.VfSettings | None:
    """Return the VF as its PF shows it; None if the PF has more VFs than the kernel can show.

    A VF that cannot be read is no difference: a runtime would end the pod for that.
    """
    try:
        return net.vf(target.pf, target.vf)
    except errors.KernelError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        _log.warning("CHECK of VF %s compares only its netdev: %s", record.pci, error)
        return None


def _compare_netdev(inner: kernel.Kernel, record: ledger.Record, previous: result.Result) -> str:
    """Compare the netdev; returns its MAC, which is as it should be."""
    name = record.owner.ifname
    try:
        link = inner.link(name)
    except errors.KernelError as error:
        raise _differs(f"interface {name} is not in the pod") from error
    _check_link(link, record, previous)
    if lacking := ipam.missing(inner, link.index, _ours(previous, name)):
        raise _differs(f"interface {name} has lost its {lacking}")
    return link.address


def _compare_rdma(inner: kernel.Kernel, record: ledger.Record) -> None:
    """Compare by index: a pod may rename its RDMA devices."""
    there = {each.index for each in inner.rdma_devices()} if record.rdma else set()
    for device in record.rdma:
        if device.index not in there:
            raise _differs(f"RDMA device {device.name} of VF {record.pci} is not in the pod")


def _compare_host_link(
    net: kernel.Kernel, inner: kernel.Kernel, link: ledger.HostLink, addresses: Sequence[kernel.IpInterface]
) -> None:
    """Compare both ends, the pod's routes over the link and its rules for UDP, and the host's routes to the pod."""
    # Only a pod with a host link pays for it.
    from sriov_cni.dataplane import host_link  # noqa: PLC0415

    here, there = _end(net, link.name, link.address, "node"), _end(inner, link.inside, link.inside_address, "pod")
    both = host_link.versions(link, addresses)
    own = host_link.own_addresses(link)
    if lost := set(own) - set(inner.addresses(there.index)):
        raise _differs(f"host link {there.name} in the pod has lost its address {min(map(str, lost))}")
    pods = {ipaddress.ip_network(each.ip) for each in (*addresses, *own) if each.version in both}
    for end, wanted, found in (
        (there, host_link.destinations(link, both), inner.routes(there.index)),
        (here, pods, net.routes(here.index)),
    ):
        if lacking := sorted(map(str, set(wanted) - {each.dst for each in found})):
            raise _differs(f"host link {end.name} has lost its route to {lacking[0]}")
    if link.udp and inner.nft_comment(host_link.TABLE_NAME) != host_link.UDP_COMMENT:
        raise _differs(f"host link {there.name} in the pod has lost its rules for answers to UDP")


def _end(net: kernel.Kernel, name: str, address: str, where: str) -> kernel.Link:
    try:
        link = net.link(name)
    except errors.KernelError as error:
        raise _differs(f"host link {name} is not in the {where}") from error
    if link.address != address or not link.up:
        raise _differs(f"host link {name} in the {where} is {'down' if link.address == address else 'another link'}")
    return link


def _check_link(link: kernel.Link, record: ledger.Record, previous: result.Result) -> None:
    if link.parent not in (None, record.pci):
        raise _differs(f"interface {link.name} is not VF {record.pci} but {link.parent}")
    if not link.up:
        raise _differs(f"interface {link.name} is down")
    if link.enslaved:
        return  # a bond or a team gives all its links one address, or exchanges theirs (bonding.rst, fail_over_mac)
    expected = next((each.mac for each in previous.interfaces if each.name == link.name and each.sandbox), "")
    if expected and link.address != expected.lower():
        raise _differs(f"interface {link.name} has MAC {link.address}, not {expected}")


def _ours(previous: result.Result, name: str) -> result.Addressing:
    """Return the addresses that prevResult gives to our interface, and its routes.

    A route names no interface. If other plugins gave addresses too, only a route whose gateway is in one of our
    networks is certainly ours.
    """
    mine = {index for index, each in enumerate(previous.interfaces) if each.name == name and each.sandbox}
    ips = [ip for ip in previous.ips if ip.interface is None or ip.interface in mine]
    found = result.addressing(result.Result(ips=ips, routes=previous.routes), "prevResult")
    if len(ips) == len(previous.ips):
        return found
    networks = [address.network for address in found.addresses]
    explicit = [route.gateway for route, raw in zip(found.routes, previous.routes, strict=True) if raw.gw]
    reachable = {gateway for gateway in explicit if any(gateway in network for network in networks)}
    return result.Addressing(found.addresses, tuple(route for route in found.routes if route.gateway in reachable))


def _as_asked(found: settings.VfSettings, record: ledger.Record, address: str | None) -> settings.VfSettings:
    """Return what the PF shows, with the MAC asked for if a trusted VF has taken another, which its PF then shows.

    Source: drivers/net/ethernet/intel/igb/igb_main.c, igb_set_vf_mac_addr().
    """
    if record.wanted.trust and found.mac == address:
        return msgspec.structs.replace(found, mac=record.wanted.mac)
    return found


def _check_vf(found: settings.VfSettings, record: ledger.Record, stated: frozenset[settings.Setting]) -> None:
    """Compare what was stated and the driver took. Without a pinned MAC, drivers show the VF's own there.

    A record of an older version does not have the settings passed over: then only what the network asked for counts.
    """
    kept = None if record.wanted.trust else record.host_mac  # a trusted VF may take another
    held = record.pinned or kept or settings.NO_MAC
    expected = (
        msgspec.structs.replace(record.wanted, mac=held) if record.wanted.mac == settings.NO_MAC else record.wanted
    )
    compared = settings.asked(expected) if record.passed_over is None else stated - set(record.passed_over)
    if expected.mac == settings.NO_MAC:
        compared -= {settings.Setting.MAC}
    for setting in sorted(compared, key=lambda each: each.value):
        if found.value(setting) != expected.value(setting):
            raise _differs(f"VF {record.pci} has {setting.value} {found.value(setting)}, not {expected.value(setting)}")


def _differs(message: str) -> cni_errors.CniError:
    return cni_errors.CniError(Code.CHECK, message, "something outside of this CNI changed it; recreate the pod")
