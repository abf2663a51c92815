"""What a node's policy says, and what it refuses. Pure.

    {"defaults": {"services": "socket"},
     "rules": [{"pfs": ["ens1f0"], "vlans": ["100-199", "300"], "trust": false, "spoofchkOff": false,
                "macPrefixes": ["02:00"], "services": ["socket"]}, {"vlans": ["0"]}]}

The first rule that names the VF's PF (by netdev or PCI address), or names none, decides; if no rule does, the VF is
refused. A key that a rule leaves out sets no limit; without `rules` there is none. `defaults` count for a network that
does not name the key.
"""

import pathlib
import re

import msgspec

from sriov import devices, settings
from sriov_cni.spec import cni_errors, service_modes
from sriov_cni.spec.cni_errors import Code

SPAN = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
PREFIX = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){0,5}")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """VLAN 0 is untagged. `spoofchk_off`: whether spoof checking may be switched off. `services` are the modes that may
    be in effect: one alone is demanded."""

    pfs: tuple[str, ...] | None = None
    vlans: tuple[str, ...] | None = None
    trust: bool = True
    spoofchk_off: bool = msgspec.field(default=True, name="spoofchkOff")
    mac_prefixes: tuple[str, ...] | None = msgspec.field(default=None, name="macPrefixes")
    services: tuple[service_modes.ServicesMode, ...] | None = None


class NetworkDefaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values of keys that a network does not name."""

    services: service_modes.ServicesMode = service_modes.ServicesMode.OFF


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
    except (msgspec.MsgspecError, ValueError) as error:
        raise unusable(source, str(error)) from error
    return policy


def refusal(
    policy: Policy, vf: devices.VF, wanted: settings.VfSettings, services: service_modes.ServicesMode
) -> str | None:
    """Return what the policy forbids this VF, in the words of the network configuration; or None.

    `services` is the mode in effect, wherever it comes from.
    """
    if policy.rules is msgspec.UNSET:
        return None
    rule = next((each for each in policy.rules if each.pfs is None or {vf.pf, vf.pf_netdev} & set(each.pfs)), None)
    if rule is None:
        return f"every VF of PF {vf.pf_netdev or vf.pf}: no rule names it"
    if rule.services is not None and services not in rule.services:
        return f'services "{services}": it allows {", ".join(rule.services)}'
    return _refused_setting(rule, wanted)


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


def _span(text: str) -> range:
    match = SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"vlans {text!r} is neither a VLAN nor a range of them")
    first = int(match[1])
    return range(first, int(match[2] or first) + 1)


def unusable(path: pathlib.Path | str, why: str, remedy: str = "see docs/cni.md for its keys") -> cni_errors.CniError:
    return cni_errors.CniError(Code.INVALID_CONFIG, f"the node's policy {path} cannot be used: {why}", remedy)
