"""IPAM: the meaning of a plugin's outcome, and its addresses on the link. The shim runs the plugin.

Source: CNI spec 1.1, section 4 (delegated plugins).
"""

import errno
from collections.abc import Callable

import msgspec

from sriov import errors
from sriov.linux import kernel
from sriov_cni.shim import wire
from sriov_cni.spec import cni_errors, result
from sriov_cni.spec.cni_errors import Code

WITHOUT_LINK = {
    "host-local": "files of its own on the node (containernetworking/plugins, plugins/ipam/host-local/main.go)",
    "static": "the configuration alone (containernetworking/plugins, plugins/ipam/static/main.go)",
    "whereabouts": "the API server (k8snetworkplumbingwg/whereabouts, cmd/whereabouts.go)",
    "nv-ipam": "its daemon on the node, by gRPC (Mellanox/nvidia-k8s-ipam, pkg/cni/plugin/plugin.go)",
    "calico-ipam": "Calico's datastore (projectcalico/calico, cni-plugin/pkg/ipamplugin/ipam_plugin.go)",
}
"""IPAM plugins that never look at the pod's interface, and what they use instead; read in each one's source.

They run while the VF moves. All others get a link that exists and is up: `dhcp` sends its requests from it
(plugins/ipam/dhcp/lease.go), spiderpool looks for other holders of the address on it (its DetectIPConflict…), and a
plugin that nobody here has read may do either.
"""


def needs_link(plugin: str | None) -> bool:
    """Report whether the plugin may run only while the VF is in the pod and up."""
    return plugin is not None and plugin not in WITHOUT_LINK


class _Error(msgspec.Struct, frozen=True):
    code: int
    msg: str
    details: str = ""


_ERROR = msgspec.json.Decoder(_Error)


def check(plugin: str, outcome: wire.Outcome) -> bytes:
    """Return the plugin's stdout. Raises its own error, prefixed with its name, or one that quotes what it printed."""
    if outcome.status == 0:
        return outcome.stdout
    if outcome.status == wire.NO_PLUGIN and not outcome.stdout:
        raise cni_errors.CniError(
            Code.INVALID_CONFIG, f"IPAM plugin {plugin!r} is not on CNI_PATH", "install it there, or correct ipam.type"
        )
    try:
        error = _ERROR.decode(outcome.stdout)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        text = outcome.stdout[:200].decode(errors="replace").strip()
        message = f"IPAM plugin {plugin!r} failed with status {outcome.status}: {text or 'it printed nothing'}"
        raise cni_errors.CniError(Code.INTERNAL, message, "see the runtime's log for its stderr") from None
    raise cni_errors.CniError(error.code, f"IPAM plugin {plugin!r}: {error.msg}", error.details)


def lease(plugin: str, outcome: wire.Outcome) -> result.Result:
    """Return the addresses for an ADD. Raises CniError if there are none."""
    leased = result.decode(check(plugin, outcome), f"the answer of IPAM plugin {plugin!r}")
    if not leased.ips:
        raise cni_errors.CniError(
            Code.INTERNAL, f"IPAM plugin {plugin!r} returned missing IP config", "look at its pool of addresses"
        )
    return leased


def configure(
    net: kernel.Kernel, index: int, wanted: result.Addressing, enable_ipv6: Callable[[], None] | None = None
) -> None:
    """Set addresses and routes on a link that is up. Raises KernelError, and what `enable_ipv6` raises.

    A second route to a destination is no error, as with the reference plugins, which add routes without NLM_F_EXCL too
    (ConfigureIface() in pkg/ipam/ipam_linux.go, RouteAddEcmp() in vishvananda/netlink).
    """
    for address in wanted.addresses:
        _add_address(net, index, address, enable_ipv6)
    for route in wanted.routes:
        try:
            net.add_route(index, route)
        except errors.KernelError as error:
            if error.errno != errno.EEXIST:  # EEXIST: the very same route is there
                raise


def _add_address(
    net: kernel.Kernel, index: int, address: kernel.IpInterface, enable_ipv6: Callable[[], None] | None
) -> None:
    """Add the address. IPv6 is enabled only after the kernel's refusal, so that other pods do not pay for a check."""
    try:
        net.add_address(index, address)
    except errors.KernelError as error:
        if error.errno != errno.EACCES or address.version == 4 or enable_ipv6 is None:
            raise
        enable_ipv6()
        net.add_address(index, address)


def missing(net: kernel.Kernel, index: int, wanted: result.Addressing) -> str | None:
    """Return the first address or route that the link lacks, for CHECK."""
    addresses = net.addresses(index)
    routes = {(route.dst, route.gateway) for route in net.routes(index)}
    for address in wanted.addresses:
        if address not in addresses:
            return f"address {address}"
    for route in wanted.routes:
        if (route.dst, route.gateway) not in routes:
            return f"route to {route.dst}"
    return None
