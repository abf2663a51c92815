"""CNI results of every supported version: an IPAM plugin's answer, and our own. Pure.

Inside the process a result has one shape, that of 1.1.0; `encode` leaves out what an older version does not have
(CNI spec 1.1.0 "Success", 1.0.0 and 0.4.0 likewise). prevResult belongs to other plugins and is passed on as received,
unknown fields too: a plugin must pass on what earlier plugins did ("Deriving runtime configuration").
"""

import contextlib
import ipaddress
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sriov.linux import kernel
from sriov_cni.spec import cni_errors
from sriov_cni.spec.cni_errors import Code

_WITH_IP_VERSION = ("0.3.0", "0.3.1", "0.4.0")
_WITH_1_1_FIELDS = ("1.1.0",)
_LISTS = ("interfaces", "ips", "routes")


class Interface(msgspec.Struct, frozen=True, omit_defaults=True):
    """`mtu` in bytes; `pci_id` the VF's PCI address."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    pci_id: str = msgspec.field(default="", name="pciID")


class Ip(msgspec.Struct, frozen=True, omit_defaults=True):
    """`address` with its prefix length; `interface` an index into the result's interfaces."""

    address: str
    gateway: str = ""
    interface: int | None = None


class ResultRoute(msgspec.Struct, frozen=True, omit_defaults=True):
    dst: str
    gw: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class Dns(msgspec.Struct, frozen=True, omit_defaults=True):
    nameservers: list[str] = []
    domain: str = ""
    search: list[str] = []
    options: list[str] = []


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """A result of any version from 0.3.0 on."""

    interfaces: list[Interface] = []
    ips: list[Ip] = []
    routes: list[ResultRoute] = []
    dns: Dns = Dns()


_RESULT = msgspec.json.Decoder(Result)
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class Previous(msgspec.Struct, frozen=True):
    """prevResult, decoded once: `result` is read here, `document` is passed on as received. Both empty without one."""

    result: Result = msgspec.field(default_factory=Result)
    document: dict[str, Any] = msgspec.field(default_factory=dict)


class Addressing(msgspec.Struct, frozen=True):
    """A result's addresses and routes as the kernel takes them."""

    addresses: tuple[kernel.IpInterface, ...]
    routes: tuple[kernel.Route, ...]


def decode(data: bytes, what: str) -> Result:
    """Read a result; `what` names it in the error. Raises CniError with code 6."""
    with _decoding(what):
        return _RESULT.decode(data)


def previous(data: bytes | None, versions: Container[str] | None = None) -> Previous:
    """Read prevResult, whole: it is passed on, so it must be a result of one of `versions`. CniError with code 6.

    It may leave its version out, which is then the configuration's (libcni, NewConfFromBytes).
    """
    if data is None:
        return Previous()
    with _decoding("prevResult"):
        document = _OBJECT.decode(data)
        found = Previous(msgspec.convert(document, Result), document)
    addressing(found.result, "prevResult")
    named = document.get("cniVersion")
    if versions is not None and named not in ("", None) and named not in versions:
        raise cni_errors.CniError(Code.DECODING, f"prevResult has cniVersion {named!r}", "see its documentation")
    return found


@contextlib.contextmanager
def _decoding(what: str) -> Iterator[None]:
    """Make a CniError with code 6 of what the decoder raises."""
    try:
        yield
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise cni_errors.CniError(
            Code.DECODING, f"{what} is not a CNI result: {error}", "see its documentation"
        ) from error


def addressing(result: Result, what: str) -> Addressing:
    """Parse addresses and routes. Raises CniError with code 6 for an invalid one."""
    try:
        addresses = tuple(ipaddress.ip_interface(ip.address) for ip in result.ips)
        gateways = [ipaddress.ip_address(ip.gateway) for ip in result.ips if ip.gateway]
        return Addressing(addresses, tuple(_route(route, gateways) for route in result.routes))
    except ValueError as error:
        raise cni_errors.CniError(Code.DECODING, f"{what} has {error}", "see its documentation") from error


def _route(route: ResultRoute, gateways: list[kernel.IpAddress]) -> kernel.Route:
    """Parse a route. One without a gateway uses the first address' gateway of its family, as with other plugins."""
    dst = ipaddress.ip_network(route.dst, strict=False)
    gateway = ipaddress.ip_address(route.gw) if route.gw else None
    if gateway is None and route.scope is None:
        gateway = next((each for each in gateways if each.version == dst.version), None)
    return kernel.Route(
        dst, gateway, route.mtu or None, route.advmss or None, route.priority or None, route.table, route.scope
    )


def merge(before: Result, interfaces: Sequence[Interface], leased: Result, dns: Dns) -> Result:
    """Return our answer: the results of plugins before us, our interfaces, and what the IPAM plugin gave the first.

    There is one DNS: the network configuration's, else the IPAM plugin's, else that of the plugins before us.
    """
    ours = len(before.interfaces)
    ips = [msgspec.structs.replace(ip, interface=ours) for ip in leased.ips]
    named = next((each for each in (dns, leased.dns) if each != Dns()), before.dns)
    every = [*before.interfaces, *interfaces]
    return Result(every, [*before.ips, *ips], [*before.routes, *leased.routes], named)


def encode(result: Result, version: str, before: Mapping[str, Any]) -> bytes:
    """Encode the JSON document for stdout in this version. `result` begins with that of the prevResult `before`."""
    document: dict[str, Any] = {"cniVersion": version, **msgspec.to_builtins(result)}
    if version not in _WITH_1_1_FIELDS:
        document["interfaces"] = [_keep(each, {"name", "mac", "sandbox"}) for each in document["interfaces"]]
        if "routes" in document:
            document["routes"] = [_keep(each, {"dst", "gw"}) for each in document["routes"]]
    _restore(document, before)
    for ip in document.get("ips", []):
        ip.pop("version", None)
        if version in _WITH_IP_VERSION:
            ip["version"] = str(ipaddress.ip_interface(ip["address"]).version)
    return msgspec.json.encode(document) + b"\n"


def _restore(document: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Put the values of prevResult back, whole."""
    for name, value in before.items():
        if name not in document:
            document[name] = value
        elif name in _LISTS:
            document[name][: len(value)] = value
    if "dns" in before and document.get("dns") == msgspec.to_builtins(msgspec.convert(before["dns"], Dns)):
        document["dns"] = before["dns"]


def _keep(fields: dict[str, Any], known: set[str]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key in known}
