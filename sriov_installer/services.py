"""systemd's command lines: made here, run by `apply`. Pure, except for the check of whether there is a systemd."""

import pathlib
import shutil
from collections.abc import Sequence

import msgspec

from sriov_installer import artifacts

_BOOTED = pathlib.Path("/run/systemd/system")  # sd_booted(3)


class Systemd(msgspec.Struct, frozen=True):
    """`present`: systemctl exists. `running`: it is also this root's init, so that units can be started."""

    root: pathlib.Path
    present: bool
    running: bool

    def enabling(self, units: Sequence[str]) -> list[tuple[str, ...]]:
        """Return commands that enable the units for the next boot, and, if systemd runs, start or restart them now.

        The start is not waited for: the device plugin is tried again until there is a kubelet. Provisioning changes
        NICs, so it is left to the next boot or to the administrator.
        """
        enable = self._command("enable", *units)
        started = [each for each in units if each != artifacts.PROVISION]
        return [enable, self._command("restart", "--no-block", *started)] if self.running else [enable]

    def disabling(self, units: Sequence[str]) -> list[tuple[str, ...]]:
        if not self.present or not units:
            return []
        now = ("--now",) if self.running else ()
        return [self._command("disable", *now, *units)]

    def reloading(self) -> list[tuple[str, ...]]:
        return [self._command("daemon-reload")] if self.running else []

    def _command(self, *arguments: str) -> tuple[str, ...]:
        where = () if self.root == pathlib.Path("/") else (f"--root={self.root}",)
        return ("systemctl", *where, *arguments)


def look(root: pathlib.Path) -> Systemd:
    present = shutil.which("systemctl") is not None
    return Systemd(root, present, present and root == pathlib.Path("/") and _BOOTED.is_dir())
