"""IPAM: what the plugin's outcome means, and its addresses on the link. Running it is the shim's part.

Source: CNI spec 1.1, section 4 (delegated plugins).
"""

import msgspec

from sriov import kernel
from sriov_cni import failure, result, wire
from sriov_cni.failure import Code


class _Error(msgspec.Struct, frozen=True):
    code: int
    msg: str
    details: str = ""


_ERROR = msgspec.json.Decoder(_Error)


def check(plugin: str, outcome: wire.Outcome) -> bytes:
    """The plugin's stdout. Raises its own error as it came, or one that quotes what it printed."""
    if outcome.status == 0:
        return outcome.stdout
    if outcome.status == wire.NO_PLUGIN and not outcome.stdout:
        raise failure.CniError(
            Code.INVALID_CONFIG, f"IPAM plugin {plugin!r} is not on CNI_PATH", "install it there, or correct ipam.type"
        )
    try:
        error = _ERROR.decode(outcome.stdout)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        text = outcome.stdout[:200].decode(errors="replace").strip()
        message = f"IPAM plugin {plugin!r} failed with status {outcome.status}: {text or 'it printed nothing'}"
        raise failure.CniError(Code.INTERNAL, message, "see the runtime's log for its stderr") from None
    raise failure.CniError(error.code, error.msg, error.details)


def lease(plugin: str, outcome: wire.Outcome) -> result.Result:
    """The addresses an ADD was given. Raises CniError where there are none."""
    leased = result.decode(check(plugin, outcome), f"the answer of IPAM plugin {plugin!r}")
    if not leased.ips:
        raise failure.CniError(
            Code.INTERNAL, f"IPAM plugin {plugin!r} returned missing IP config", "look at its pool of addresses"
        )
    return leased


def configure(net: kernel.Kernel, index: int, wanted: result.Addressing) -> None:
    """Put addresses and routes on a link that is up. Raises KernelError."""
    for address in wanted.addresses:
        net.add_address(index, address)
    for route in wanted.routes:
        net.add_route(index, route)


def missing(net: kernel.Kernel, index: int, wanted: result.Addressing) -> str | None:
    """The first of the addresses and routes that the link does not have, for CHECK."""
    addresses = net.addresses(index)
    routes = {(route.dst, route.gateway) for route in net.routes(index)}
    for address in wanted.addresses:
        if address not in addresses:
            return f"address {address}"
    for route in wanted.routes:
        if (route.dst, route.gateway) not in routes:
            return f"route to {route.dst}"
    return None
