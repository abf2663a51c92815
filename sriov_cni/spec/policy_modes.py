"""The keys `policy`, `policyUnknown` and `policyRaw` of a network configuration, checked. Pure."""

import enum
from typing import TypeVar

import msgspec

from sriov_cni.spec import cni_errors, netconf

_T = TypeVar("_T", bound=enum.StrEnum)


class PolicyMode(enum.StrEnum):
    """Which policies hold: NetworkPolicy, for a pod whose network is the VF, or MultiNetworkPolicy, for another one."""

    OFF = "off"
    KUBERNETES = "kubernetes"
    MULTI = "multi"


class UnknownPolicy(enum.StrEnum):
    """What happens to a pod of which the node does not know the policies: no start, no packets, or all of them."""

    REFUSE = "refuse"
    DENY = "deny"
    ALLOW = "allow"


class PolicyWish(msgspec.Struct, frozen=True):
    """`raw`: a packet socket is held to the policies, too."""

    mode: PolicyMode
    unknown: UnknownPolicy = UnknownPolicy.REFUSE
    raw: bool = False


def read(mode: str | None, unknown: str | None, raw: bool | None, *, ipam: str | None) -> PolicyWish | None:
    """Return what is asked for; None if the network does not say. Raises CniError with code 2 or 7."""
    chosen = _one_of(PolicyMode, "policy", mode) if mode else None
    wish = PolicyWish(chosen or PolicyMode.OFF, _one_of(UnknownPolicy, "policyUnknown", unknown or "refuse"), bool(raw))
    if wish.mode is PolicyMode.OFF and (unknown or raw):
        key = "policyRaw" if raw else "policyUnknown"
        raise netconf.invalid(f"{key} needs a policy, and there is none", 'add "policy": "kubernetes" or "multi"')
    if raw and ipam == "dhcp":
        raise netconf.invalid(
            "policyRaw would drop what the IPAM plugin dhcp sends: it has a packet socket in the pod",
            "use another IPAM plugin, or leave policyRaw out",
        )
    return None if chosen is None else wish


def _one_of(kind: type[_T], key: str, value: str) -> _T:
    try:
        return kind(value)
    except ValueError:
        *most, last = (f'"{each}"' for each in kind)
        raise cni_errors.CniError(
            cni_errors.Code.UNSUPPORTED_FIELD, f"{key} {value!r} is not known", f"write {', '.join(most)} or {last}"
        ) from None
