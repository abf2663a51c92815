"""The node's policy in force: an optional file of root's, looked at for each ADD.

If the file turns bad, the last good policy stays in force: its limits are the operator's own. Without one every ADD is
refused: a limit that silently vanished would be none.
"""

import logging
import os
import pathlib
import threading

import msgspec

from sriov import devices, files, settings
from sriov_cni.context import policy_rules
from sriov_cni.spec import cni_errors
from sriov_cni.spec.cni_errors import Code
from sriov_cni.spec.policy_modes import PolicyMode
from sriov_cni.spec.service_modes import ServicesMode

_log = logging.getLogger(__name__)


class _State(msgspec.Struct, frozen=True):
    """Policy in force. `stamp` is of the file as it was last seen; `error` is what is wrong with it."""

    stamp: tuple[int, ...] | None
    policy: policy_rules.Policy | None = None
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

    @property
    def defaults(self) -> policy_rules.NetworkDefaults:
        now = self._current()
        return (now.policy and now.policy.defaults) or policy_rules.NetworkDefaults()

    def check(
        self,
        vf: devices.VF,
        wanted: settings.VfSettings,
        membership: policy_rules.Membership = policy_rules.NOTHING,
    ) -> None:
        """Check what would be in effect. Raises CniError with code 7 that names policy and value."""
        now = self._current()
        if now.policy is None and now.error is not None:
            raise cni_errors.CniError(now.error.code, now.error.message, now.error.details)
        if now.policy is not None and (problem := policy_rules.refusal(now.policy, vf, wanted, membership)):
            raise cni_errors.CniError(
                Code.INVALID_CONFIG, f"the node's policy {self._path} refuses {problem}", "ask the node's administrator"
            )

    def demands_host_link(self, vf: devices.VF) -> bool:
        """Report whether a pod with this VF is refused without one."""
        rule = self._rule(vf)
        return rule is not None and rule.host_link == (True,)

    def demands_services(self, vf: devices.VF) -> bool:
        """Report whether a pod with this VF is refused without a way to Services."""
        rule = self._rule(vf)
        return rule is not None and rule.services is not None and ServicesMode.OFF not in rule.services

    def demands_policy(self, vf: devices.VF) -> bool:
        """Report whether a pod with this VF is refused without network policies."""
        rule = self._rule(vf)
        return rule is not None and rule.policy is not None and PolicyMode.OFF not in rule.policy

    def demands_policy_raw(self, vf: devices.VF) -> bool:
        """Report whether a pod with this VF is refused if policies hold, and do not for packet sockets."""
        rule = self._rule(vf)
        return rule is not None and rule.policy_raw == (True,)

    def _rule(self, vf: devices.VF) -> policy_rules.Rule | None:
        now = self._current()
        return None if now.policy is None else policy_rules.rule_of(now.policy, vf)

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
            error = policy_rules.unusable(self._path, "it is a link to a file that is not there")
            _log.error("%s", _told(error, before.policy))
            return _State(stamp, before.policy, error)
        if stamp is None:
            if before.policy is not None or before.error is not None:
                _log.warning("the node's policy %s is gone: everything is allowed", self._path)
            return _State(None)
        try:
            policy = policy_rules.parse(_read_own(self._path), self._path)
        except cni_errors.CniError as error:
            _log.error("%s", _told(error, before.policy))
            return _State(stamp, before.policy, error)
        _log.info("the node's policy %s is in force, it has %d rules", self._path, len(policy.rules or ()))
        return _State(stamp, policy)


def _told(error: cni_errors.CniError, kept: policy_rules.Policy | None) -> str:
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
                raise policy_rules.unusable(
                    path, "users other than its owner can change it", "chown it to root, chmod 0644"
                )
            return file.read()
    except OSError as error:
        raise policy_rules.unusable(path, str(error)) from error
