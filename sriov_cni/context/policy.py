"""Policy of a node for network configurations: an optional file of root's, checked at each ADD.

    {"rules": [{"pfs": ["ens1f0"], "vlans": ["100-199", "300"], "trust": false, "spoofchkOff": false,
                "macPrefixes": ["02:00"]}, {"vlans": ["0"]}]}

The first rule that names the VF's PF (by netdev or PCI address), or names none, decides; if no rule does, the VF is
refused. A key that a rule leaves out sets no limit. A file that cannot be used refuses every ADD: a limit that silently
vanished would be none.
"""

import os
import pathlib
import re

import msgspec

from sriov import devices, settings
from sriov_cni.spec import cni_errors
from sriov_cni.spec.cni_errors import Code

_SPAN = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
_PREFIX = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){0,5}")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """VLAN 0 is untagged. `spoofchk_off`: whether spoof checking may be switched off."""

    pfs: tuple[str, ...] | None = None
    vlans: tuple[str, ...] | None = None
    trust: bool = True
    spoofchk_off: bool = msgspec.field(default=True, name="spoofchkOff")
    mac_prefixes: tuple[str, ...] | None = msgspec.field(default=None, name="macPrefixes")


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[Rule, ...]


_POLICY = msgspec.json.Decoder(Policy)


class Guard:
    """Reads the file whenever it has changed. `path` may not exist: then everything is allowed."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._policy: Policy | None = None

    def check(self, vf: devices.VF, wanted: settings.VfSettings) -> None:
        """Check the settings. Raises CniError with code 7 that names policy and value."""
        policy = self._current()
        if policy is not None and (problem := refusal(policy, vf, wanted)):
            raise cni_errors.CniError(
                Code.INVALID_CONFIG, f"the node's policy {self._path} refuses {problem}", "ask the node's administrator"
            )

    def try_out(self) -> None:
        """Raise CniError with code 7 if the file cannot be used."""
        self._current()

    def _current(self) -> Policy | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise _unusable(self._path, "users other than its owner can change it", "chown it to root, chmod 0644")
        if self._policy is None or self._seen != (found.st_mtime_ns, found.st_ino):
            self._policy, self._seen = load(self._path), (found.st_mtime_ns, found.st_ino)
        return self._policy


def load(path: pathlib.Path) -> Policy:
    """Read a policy. Raises CniError with code 7 for a file that is no policy."""
    try:
        return parse(path.read_bytes(), path)
    except OSError as error:
        raise _unusable(path, str(error)) from error


def parse(text: bytes, source: pathlib.Path | str) -> Policy:
    """Parse a policy. Raises CniError with code 7."""
    try:
        policy = _POLICY.decode(text)
        for rule in policy.rules:
            _check_rule(rule)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _unusable(source, str(error)) from error
    return policy


def refusal(policy: Policy, vf: devices.VF, wanted: settings.VfSettings) -> str | None:
    """Return the setting that the policy forbids this VF, in the words of the network configuration; or None. Pure."""
    rule = next((each for each in policy.rules if each.pfs is None or {vf.pf, vf.pf_netdev} & set(each.pfs)), None)
    if rule is None:
        return f"every VF of PF {vf.pf_netdev or vf.pf}: no rule names it"
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
    for each in rule.vlans or ():
        _span(each)
    for each in rule.mac_prefixes or ():
        if not _PREFIX.fullmatch(each):
            raise ValueError(f"macPrefixes {each!r} is not the beginning of a lower-case MAC")


def _span(text: str) -> range:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"vlans {text!r} is neither a VLAN nor a range of them")
    first = int(match[1])
    return range(first, int(match[2] or first) + 1)


def _unusable(path: pathlib.Path | str, why: str, remedy: str = "see docs/cni.md for its keys") -> cni_errors.CniError:
    return cni_errors.CniError(Code.INVALID_CONFIG, f"the node's policy {path} cannot be used: {why}", remedy)
