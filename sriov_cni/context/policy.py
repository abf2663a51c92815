"""Policy of a node for network configurations: an optional file of root's, checked at each ADD.

    {"rules": [{"pfs": ["ens1f0"], "vlans": ["100-199", "300"], "trust": false, "spoofchkOff": false,
                "macPrefixes": ["02:00"]}, {"vlans": ["0"]}]}

The first rule that names the VF's PF (by netdev or PCI address), or names none, decides; if no rule does, the VF is
refused. A key that a rule leaves out sets no limit. If the file turns bad, the last good policy stays in force: its
limits are the operator's own. Without one every ADD is refused: a limit that silently vanished would be none.
"""

import logging
import os
import pathlib
import re
import threading

import msgspec

from sriov import devices, files, settings
from sriov_cni.spec import cni_errors
from sriov_cni.spec.cni_errors import Code

_log = logging.getLogger(__name__)

_SPAN = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
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


class _State(msgspec.Struct, frozen=True):
    """Policy in force. `stamp` is of the file as it was last seen; `error` is what is wrong with it."""

    stamp: tuple[int, ...] | None
    policy: Policy | None = None
    error: cni_errors.CniError | None = None


class Guard:
    """Reads the file at once, and whenever it has changed. `path` may not exist: then everything is allowed.

    For any thread. The last good policy is only in memory: a daemon that starts has to find a good file, or none.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._reading = threading.Lock()
        self._state = _State(())
        self._current()

    def check(self, vf: devices.VF, wanted: settings.VfSettings) -> None:
        """Check the settings. Raises CniError with code 7 that names policy and value."""
        now = self._current()
        if now.policy is None and now.error is not None:
            raise cni_errors.CniError(now.error.code, now.error.message, now.error.details)
        if now.policy is not None and (problem := refusal(now.policy, vf, wanted)):
            raise cni_errors.CniError(
                Code.INVALID_CONFIG, f"the node's policy {self._path} refuses {problem}", "ask the node's administrator"
            )

    def problem(self) -> str | None:
        """Return why the file is not in force, and what is instead; None if it is, or if there is none."""
        now = self._current()
        return None if now.error is None else _told(now.error, now.policy)

    def _current(self) -> _State:
        stamp, state = _stamp(self._path), self._state
        if stamp == state.stamp:
            return state
        with self._reading:
            stamp = _stamp(self._path)  # another thread may have read it meanwhile, or it has changed again
            if stamp != self._state.stamp:
                self._state = self._next(stamp, self._state)
            return self._state

    def _next(self, stamp: tuple[int, ...] | None, before: _State) -> _State:
        """Read the changed file, and log what follows from it."""
        if stamp is None and os.path.lexists(self._path):
            error = _unusable(self._path, "it is a link to a file that is not there")
            _log.error("%s", _told(error, before.policy))
            return _State(stamp, before.policy, error)
        if stamp is None:
            if before.policy is not None or before.error is not None:
                _log.warning("the node's policy %s is gone: everything is allowed", self._path)
            return _State(None)
        try:
            policy = parse(_read_own(self._path), self._path)
        except cni_errors.CniError as error:
            _log.error("%s", _told(error, before.policy))
            return _State(stamp, before.policy, error)
        _log.info("the node's policy %s is in force, it has %d rules", self._path, len(policy.rules))
        return _State(stamp, policy)


def _told(error: cni_errors.CniError, kept: Policy | None) -> str:
    return f"{error.message}; {'every ADD is refused' if kept is None else 'the last good one stays in force'}"


def _stamp(path: pathlib.Path) -> tuple[int, ...] | None:
    """Return what is another one after each change; None without a file. One system call.

    The time alone is not enough: it has the kernel's ticks, which are milliseconds apart.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:  # reading says what is wrong
        return (-1, error.errno or 0)
    return (found.st_ctime_ns, found.st_ino, found.st_size, found.st_mode, found.st_uid)


def _read_own(path: pathlib.Path) -> bytes:
    """Read a file that nobody else can change. Raises CniError."""
    try:
        with files.opened(path) as file:
            found = os.fstat(file.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise _unusable(path, "users other than its owner can change it", "chown it to root, chmod 0644")
            return file.read()
    except OSError as error:
        raise _unusable(path, str(error)) from error


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
