"""The keys `hostLink` and `viaHost` of a network configuration, and `services: "host"`, which needs them. Pure."""

import ipaddress
import re
from collections.abc import Sequence

import msgspec

from sriov.linux import kernel
from sriov_cni.spec import environment, netconf
from sriov_cni.spec.service_modes import ServicesMode

_DEFAULT = "host0"
# Narrower than what the kernel takes: the name becomes part of a rule of nftables and of a path.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")


class HostLinkWish(msgspec.Struct, frozen=True):
    """A host link: the interface's name in the pod, and what is reached through the host besides the node itself.

    `services`: the cluster's service ranges are reached through it too, as far as the node knows them.
    """

    name: str
    via: tuple[kernel.IpNetwork, ...] = ()
    services: bool = False


def read(
    name: bool | str | None, via: Sequence[str] | None, services: ServicesMode | None, *, has_ipam: bool
) -> HostLinkWish | None:
    """Return what is asked for; None for no host link. Services by the host need one. Raises CniError with code 7."""
    by_host = services is ServicesMode.HOST
    if by_host and name is False:
        raise netconf.invalid('services "host" needs a host link, and hostLink is false', "leave hostLink out")
    name = name or by_host
    if not name:
        if via:
            raise netconf.invalid(
                f"viaHost {', '.join(via)} needs a host link, and there is no hostLink", 'add "hostLink": true'
            )
        return None
    if not has_ipam:
        key = 'services "host"' if by_host else "hostLink"
        raise netconf.invalid(
            f"{key} needs a pod with addresses, and the configuration has no ipam",
            "add ipam, or leave it out",
        )
    networks = tuple(dict.fromkeys(map(_network, via or ())))
    return HostLinkWish(_DEFAULT if name is True else _checked(name), networks, by_host)


def refuse_name_of_vf(wish: HostLinkWish, ifname: str) -> None:
    """Raise CniError with code 7 if both interfaces would have one name."""
    if wish.name == ifname:
        raise netconf.invalid(
            f"hostLink {wish.name!r} is the name of the VF's own interface (CNI_IFNAME)", 'name another, as in "host0"'
        )


def _checked(name: str) -> str:
    problem = environment.ifname_problem(name)
    if problem is None and not _NAME.fullmatch(name):
        problem = "must begin with a letter or digit and hold only letters, digits, '_', '.', '-'"
    if problem is not None:
        raise netconf.invalid(f"hostLink {name!r} {problem}", 'name an interface, as in "host0"')
    return name


def _network(text: str) -> kernel.IpNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise netconf.invalid(f"viaHost {text!r} is not a network: {error}", "write it as in 10.0.0.0/8") from error
