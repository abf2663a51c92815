"""Rules and defaults of a node's policy, and what they refuse. Pure.

    {"defaults": {"services": "socket"},
     "rules": [{"pfs": ["ens1f0"], "vlans": ["100-199", "300"], "trust": false, "spoofchkOff": false,
                "macPrefixes": ["02:00"], "services": ["socket"]}, {"vlans": ["0"]}]}

The first rule that names the VF's PF (by netdev or PCI address), or names none, decides; if no rule does, the VF is
refused. A key that a rule leaves out sets no limit; without `rules` there is none. `defaults` count for a network that
does not name the key.
"""

import ipaddress
import pathlib
import re
from collections.abc import Sequence

import msgspec

from sriov import devices, settings
from sriov.linux import kernel
from sriov_cni.spec import cni_errors, host_links, policy_modes, service_modes
from sriov_cni.spec.cni_errors import Code

SPAN = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
PREFIX = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){0,5}")


class Membership(msgspec.Struct, frozen=True):
    """What a pod would have of its cluster: the way to Services in effect, its host link, and network policies.

    `further`: another interface of the pod has the first two, and was judged by them.
    """

    services: service_modes.ServicesMode = service_modes.ServicesMode.OFF
    host_link: bool = False
    via: tuple[kernel.IpNetwork, ...] = ()
    addresses: tuple[kernel.IpInterface, ...] = ()
    policy: policy_modes.PolicyWish = policy_modes.PolicyWish()
    further: bool = False


NOTHING = Membership()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """VLAN 0 is untagged. `spoofchk_off`: whether spoof checking may be switched off. `services` are the modes that may
    be in effect, and `host_link` whether there may be one: a value alone is demanded. `via_host` are networks that
    viaHost has to be in, `host_link_addresses` those of a link's own addresses. `policy` are the modes that may be in
    effect, and the other two what may be of a network whose pods are held to policies."""

    pfs: tuple[str, ...] | None = None
    vlans: tuple[str, ...] | None = None
    trust: bool = True
    spoofchk_off: bool = msgspec.field(default=True, name="spoofchkOff")
    mac_prefixes: tuple[str, ...] | None = msgspec.field(default=None, name="macPrefixes")
    services: tuple[service_modes.ServicesMode, ...] | None = None
    host_link: tuple[bool, ...] | None = msgspec.field(default=None, name="hostLink")
    via_host: tuple[str, ...] | None = msgspec.field(default=None, name="viaHost")
    host_link_addresses: tuple[str, ...] | None = msgspec.field(default=None, name="hostLinkAddresses")
    policy: tuple[policy_modes.PolicyMode, ...] | None = None
    policy_unknown: tuple[policy_modes.UnknownPolicy, ...] | None = msgspec.field(default=None, name="policyUnknown")
    policy_raw: tuple[bool, ...] | None = msgspec.field(default=None, name="policyRaw")


class NetworkDefaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values of keys that a network does not name."""

    services: service_modes.ServicesMode = service_modes.ServicesMode.OFF
    host_link: bool | str = msgspec.field(default=False, name="hostLink")
    via_host: tuple[str, ...] = msgspec.field(default=(), name="viaHost")
    host_link_udp: bool = msgspec.field(default=False, name="hostLinkUdp")
    policy: policy_modes.PolicyMode = policy_modes.PolicyMode.OFF
    policy_unknown: policy_modes.UnknownPolicy = msgspec.field(
        default=policy_modes.UnknownPolicy.REFUSE, name="policyUnknown"
    )
    policy_raw: bool = msgspec.field(default=False, name="policyRaw")

    @property
    def of_policy(self) -> policy_modes.PolicyWish:
        return policy_modes.PolicyWish(self.policy, self.policy_unknown, self.policy_raw)


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Without `rules` there is no limit; an empty list refuses every VF."""

    rules: tuple[Rule, ...] | msgspec.UnsetType = msgspec.UNSET
    defaults: NetworkDefaults | msgspec.UnsetType = msgspec.UNSET


_POLICY = msgspec.json.Decoder(Policy)


def load(path: pathlib.Path) -> Policy:
    """Read a policy. Raises CniError with code 7 for a file that is no policy."""
    try:
        return parse(path.read_bytes(), path)
    except OSError as error:
        raise unusable(path, str(error)) from error


def parse(text: bytes, source: pathlib.Path | str) -> Policy:
    """Parse a policy. Raises CniError with code 7."""
    try:
        policy = _POLICY.decode(text)
        if policy == Policy():
            raise ValueError("it has neither `rules` nor `defaults`")
        for rule in policy.rules or ():
            _check_rule(rule)
        _check_defaults(policy.defaults or NetworkDefaults())
    except (msgspec.MsgspecError, ValueError) as error:
        raise unusable(source, str(error)) from error
    return policy


def rule_of(policy: Policy, vf: devices.VF) -> Rule | None:
    """Return the first rule that names the VF's PF, or none."""
    known = {vf.pf, vf.pf_netdev}
    return next((each for each in policy.rules or () if each.pfs is None or known & set(each.pfs)), None)


def refusal(policy: Policy, vf: devices.VF, wanted: settings.VfSettings, membership: Membership) -> str | None:
    """Return what the policy forbids this VF, in the words of the network configuration; or None.

    `membership` is what would be in effect, wherever it comes from.
    """
    if policy.rules is msgspec.UNSET:
        return None
    rule = rule_of(policy, vf)
    if rule is None:
        return f"every VF of PF {vf.pf_netdev or vf.pf}: no rule names it"
    return (
        (None if membership.further else _refused_membership(rule, membership))
        or _refused_policy(rule, membership.policy)
        or _refused_setting(rule, wanted)
    )


def _refused_membership(rule: Rule, wanted: Membership) -> str | None:
    if rule.services is not None and wanted.services not in rule.services:
        return f'services "{wanted.services}": it allows {", ".join(rule.services)}'
    if rule.host_link is not None and wanted.host_link not in rule.host_link:
        return "hostLink" if wanted.host_link else "a network without hostLink"
    addresses = tuple(ipaddress.ip_network(each.ip) for each in wanted.addresses)
    for key, allowed, networks in (
        ("viaHost", rule.via_host, wanted.via),
        ("hostLinkAddresses", rule.host_link_addresses, addresses),
    ):
        for each in networks if allowed is not None else ():
            if not any(_is_inside(each, ipaddress.ip_network(one)) for one in allowed or ()):
                return f"{key} {each}: it allows {', '.join(allowed or ()) or 'none'}"
    return None


def _refused_policy(rule: Rule, wanted: policy_modes.PolicyWish) -> str | None:
    mode = wanted.mode or policy_modes.PolicyMode.OFF
    if rule.policy is not None and mode not in rule.policy:
        return f'policy "{mode}": it allows {", ".join(rule.policy)}'
    if not wanted.holds:
        return None
    unknown = wanted.unknown or policy_modes.UnknownPolicy.REFUSE
    if rule.policy_unknown is not None and unknown not in rule.policy_unknown:
        return f'policyUnknown "{unknown}": it allows {", ".join(rule.policy_unknown)}'
    if rule.policy_raw is not None and bool(wanted.raw) not in rule.policy_raw:
        return "policyRaw" if wanted.raw else "a policy without policyRaw"
    return None


def _is_inside(inner: kernel.IpNetwork, outer: kernel.IpNetwork) -> bool:
    return inner.version == outer.version and inner[0] in outer and inner[-1] in outer


def _refused_setting(rule: Rule, wanted: settings.VfSettings) -> str | None:
    if rule.vlans is not None and not any(wanted.vlan in _span(each) for each in rule.vlans):
        return f"vlan {wanted.vlan}: it allows {', '.join(rule.vlans)}"
    if wanted.trust and not rule.trust:
        return "trust on"
    if not wanted.spoofchk and not rule.spoofchk_off:
        return "spoofchk off"
    prefixes = rule.mac_prefixes if wanted.mac != settings.NO_MAC else None
    if prefixes is not None and not wanted.mac.startswith(prefixes):
        return f"mac {wanted.mac}: it allows {', '.join(prefixes)}"
    return None


def _check_rule(rule: Rule) -> None:
    if service_modes.ServicesMode.AUTO in (rule.services or ()):
        raise ValueError('services "auto" is never in effect: name the modes that it may choose')
    for each in rule.vlans or ():
        _span(each)
    for each in rule.mac_prefixes or ():
        if not PREFIX.fullmatch(each):
            raise ValueError(f"macPrefixes {each!r} is not the beginning of a lower-case MAC")
    _check_link("", True, (*(rule.via_host or ()), *(rule.host_link_addresses or ())))


def _check_link(where: str, name: bool | str, networks: Sequence[str]) -> None:
    try:
        host_links.wish(name, networks)
    except cni_errors.CniError as error:
        raise ValueError(f"{where}{error.message}") from error


def _check_defaults(defaults: NetworkDefaults) -> None:
    _check_link("defaults: ", defaults.host_link or True, defaults.via_host)
    is_linked = defaults.host_link or defaults.services is service_modes.ServicesMode.HOST
    for key, value in (("viaHost", defaults.via_host), ("hostLinkUdp", defaults.host_link_udp)):
        if value and not is_linked:
            raise ValueError(f"defaults: {key} needs hostLink")


def _span(text: str) -> range:
    match = SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"vlans {text!r} is neither a VLAN nor a range of them")
    first = int(match[1])
    return range(first, int(match[2] or first) + 1)


def unusable(
    path: pathlib.Path | str, why: str, remedy: str = "see docs/configuration.md for its keys"
) -> cni_errors.CniError:
    return cni_errors.CniError(Code.INVALID_CONFIG, f"the node's policy {path} cannot be used: {why}", remedy)
