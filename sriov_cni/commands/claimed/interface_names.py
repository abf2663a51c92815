"""Interface names of the devices of a pod's claims. Pure."""

import itertools
from collections.abc import Collection, Iterable, Sequence

from sriov_cni.context import claims
from sriov_cni.spec import netconf
from sriov_cni.spec.claim_modes import ClaimsMode


def choose(devices: Sequence[claims.GrantedVf], ifname: str, mode: ClaimsMode) -> tuple[str, ...]:
    """Return a name for each device: its claim's, or else the next of net1, net2 and so on.

    Alone, one of them has the call's name: the one that its claim gives it, or else the first without a name. Raises
    CniError with code 7 if there is none, or two have one name.
    """
    named = [each.device.interface for each in devices if each.device.interface]
    _refuse_twice(devices, named)
    first = [ifname] if mode is ClaimsMode.ALONE and ifname not in named else []
    further = (name for number in itertools.count(1) if (name := f"net{number}") not in (*named, ifname))
    free = itertools.chain(first, further)
    found = tuple(each.device.interface or next(free) for each in devices)
    if mode is ClaimsMode.ALONE and ifname not in found:
        raise netconf.invalid(
            f"no device of the pod's claims is interface {ifname!r}, which the runtime asks for: they are"
            f" {', '.join(found)}",
            f"name one of them {ifname!r} in its VfNetwork, or leave `interface` out there",
        )
    return found


def _refuse_twice(devices: Sequence[claims.GrantedVf], named: Sequence[str]) -> None:
    for name in named:
        if named.count(name) > 1:
            whose = [str(each.grant) for each in devices if each.device.interface == name]
            raise netconf.invalid(
                f"two devices of the pod have the interface name {name!r}: of {' and of '.join(whose)}",
                "give each a name of its own in its VfNetwork, or leave `interface` out",
            )


def refuse_taken(names: Iterable[str], taken: Collection[str], by: str) -> None:
    """Refuse a name that something else in the pod has. Raises CniError with code 7."""
    for name in names:
        if name in taken:
            raise netconf.invalid(
                f"interface {name!r} of a device of the pod's claims is there already: {by}",
                "give the device another `interface` in its VfNetwork",
            )
