"""Programs of Cilium that translate Services for the sockets of all pods, as the kernel names them.

Cilium with `socketLB.hostNamespaceOnly` has the same programs, and they pass over pods: that cannot be told apart here.
Source: pkg/socketlb/socketlb.go of Cilium, for the names; the kernel keeps 15 characters (BPF_OBJ_NAME_LEN).
"""

import os
import pathlib
import time
from collections.abc import Callable

from sriov import errors
from sriov.linux.bpf import programs

_HOOKS = ("connect4", "connect6")
_NAMES = {"cil_sock4_conne", "cil_sock6_conne", "sock4_connect", "sock6_connect"}  # the last two until Cilium 1.11
_KEEP = 60.0  # seconds


class CiliumLook:
    """What was found, for a minute. For one thread."""

    def __init__(
        self, cgroup: Callable[[], pathlib.Path], names: frozenset[str] = frozenset(_NAMES), keep: float = _KEEP
    ) -> None:
        self._cgroup, self._names, self._keep = cgroup, names, keep
        self._found: tuple[str, ...] = ()
        self._at: float | None = None

    def __call__(self) -> tuple[str, ...]:
        """Return their names; none if the kernel cannot be asked."""
        now = time.monotonic()
        if self._at is None or now - self._at >= self._keep:
            self._found, self._at = self._asked(), now
        return self._found

    def _asked(self) -> tuple[str, ...]:
        try:
            cgroup = os.open(self._cgroup(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, errors.SriovError):
            return ()
        try:
            running = [name for hook in _HOOKS for name in programs.effective_names(cgroup, hook)]
        except (OSError, errors.SriovError):
            return ()
        finally:
            os.close(cgroup)
        return tuple(name for name in running if name in self._names)
