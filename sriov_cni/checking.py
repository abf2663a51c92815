"""CHECK: is the pod's VF still as ADD made it? Compares, changes nothing.

Source: CNI spec 1.1, CHECK. What a chained plugin changed afterwards stands in prevResult, so that is what counts for
the netdev; what the PF was told stands in the ledger.
"""

from sriov import errors, kernel, ledger, netns, settings
from sriov.node import Node
from sriov_cni import failure, ipam, result
from sriov_cni.failure import Code


def check(node: Node, record: ledger.Record, pod: netns.Netns, previous: result.Result) -> None:
    """Raises CniError with code 101 that names the first difference."""
    vf = node.lookup(record.pci)
    name = record.owner.ifname
    with node.kernel() as net, net.inside(pod) as inner:
        try:
            link = inner.link(name)
        except errors.KernelError as error:
            raise _differs(f"interface {name} is not in the pod") from error
        _check_link(link, record, previous)
        if lacking := ipam.missing(inner, link.index, _ours(previous, name)):
            raise _differs(f"interface {name} has lost its {lacking}")
        target = node.target(vf, settings.NO_MAC)
        _check_vf(net.vf(target.pf, target.vf), record, node.unsupported.of(target.pf))


def _check_link(link: kernel.Link, record: ledger.Record, previous: result.Result) -> None:
    if link.parent not in (None, record.pci):
        raise _differs(f"interface {link.name} is not VF {record.pci} but {link.parent}")
    if not link.up:
        raise _differs(f"interface {link.name} is down")
    expected = next((each.mac for each in previous.interfaces if each.name == link.name and each.sandbox), "")
    if expected and link.address != expected.lower():
        raise _differs(f"interface {link.name} has MAC {link.address}, not {expected}")


def _ours(previous: result.Result, name: str) -> result.Addressing:
    """The addresses that prevResult gives to our interface, and the routes that leave by them."""
    mine = {index for index, each in enumerate(previous.interfaces) if each.name == name and each.sandbox}
    ips = [ip for ip in previous.ips if ip.interface is None or ip.interface in mine]
    found = result.addressing(result.Result(ips=ips, routes=previous.routes), "prevResult")
    networks = [address.network for address in found.addresses]
    routes = [route for route in found.routes if any(route.gateway in network for network in networks if route.gateway)]
    return result.Addressing(found.addresses, tuple(routes))


def _check_vf(found: settings.VfSettings, record: ledger.Record, unsupported: frozenset[settings.Setting]) -> None:
    """The administered MAC counts only where one was asked for: drivers show the VF's own there otherwise."""
    ignored = set(unsupported - settings.asked(record.wanted))
    if record.wanted.mac == settings.NO_MAC:
        ignored.add(settings.Setting.MAC)
    for setting in settings.EVERY_SETTING - ignored:
        if found.value(setting) != record.wanted.value(setting):
            raise _differs(
                f"VF {record.pci} has {setting.value} {found.value(setting)}, not {record.wanted.value(setting)}"
            )


def _differs(message: str) -> failure.CniError:
    return failure.CniError(Code.CHECK, message, "something outside of this CNI changed it; recreate the pod")
