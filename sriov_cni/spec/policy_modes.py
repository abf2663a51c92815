"""The keys `policy`, `policyUnknown` and `policyRaw` of a network configuration, checked. Pure."""

import enum
import re
from typing import TypeVar

import msgspec

from sriov_cni.spec import cni_errors, netconf

_T = TypeVar("_T", bound=enum.StrEnum)

INTERFACE = re.compile(r"[A-Za-z0-9_.\-]+")
"""Names that an interface of a pod with policies can have: they become part of nft's commands."""


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
    """None is what nobody has named. `raw`: a packet socket is held to the policies, too."""

    mode: PolicyMode | None = None
    unknown: UnknownPolicy | None = None
    raw: bool | None = None

    @property
    def holds(self) -> bool:
        return self.mode not in (None, PolicyMode.OFF)

    def over(self, defaults: "PolicyWish") -> "PolicyWish":
        """Return it with the defaults for what it does not name."""
        raw = defaults.raw if self.raw is None else self.raw
        return PolicyWish(self.mode or defaults.mode, self.unknown or defaults.unknown, raw)


def read(mode: str | None, unknown: str | None, raw: bool | None, *, ipam: str | None) -> PolicyWish:
    """Return what a network names. Raises CniError with code 2 or 7."""
    wish = PolicyWish(
        _one_of(PolicyMode, "policy", mode) if mode else None,
        _one_of(UnknownPolicy, "policyUnknown", unknown) if unknown else None,
        raw,
    )
    if not wish.holds and (unknown or raw):
        key = "policyRaw" if raw else "policyUnknown"
        raise netconf.invalid(f"{key} needs a policy, and there is none", 'add "policy": "kubernetes" or "multi"')
    refuse_dhcp(wish, ipam)
    return wish


def refuse_dhcp(wish: PolicyWish, ipam: str | None) -> None:
    """Raise CniError with code 7 for an IPAM plugin that policies would keep from its work."""
    if wish.raw and drops(ipam):
        raise netconf.invalid(
            "policyRaw would drop what the IPAM plugin dhcp sends: it has a packet socket in the pod",
            "use another IPAM plugin, or leave policyRaw out",
        )


def drops(ipam: str | None) -> bool:
    """Report whether packets of this IPAM plugin would not pass with `policyRaw`."""
    return ipam == "dhcp"


def _one_of(kind: type[_T], key: str, value: str) -> _T:
    try:
        return kind(value)
    except ValueError:
        *most, last = (f'"{each}"' for each in kind)
        raise cni_errors.CniError(
            cni_errors.Code.UNSUPPORTED_FIELD, f"{key} {value!r} is not known", f"write {', '.join(most)} or {last}"
        ) from None
