"""Debian's NetworkManager with Debian's configuration, which has a connection by DHCP for each Ethernet netdev.

It starts as at boot, with nothing remembered. The machine's connections are not looked at.
"""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

from tests.lab.managers import hosts

_STATE = (pathlib.Path("/run/NetworkManager"), pathlib.Path("/var/lib/NetworkManager"))
_NMCLI = "usr/bin/nmcli"


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkManager:
    host: hosts.Host

    def states(self) -> dict[str, str]:
        """Of each netdev, by name; nothing until it answers."""
        told = self.host.run(_NMCLI, "--terse", "--fields=DEVICE,STATE", "device")
        return dict(line.split(":", 1) for line in told.splitlines())

    def let_go(self, typed: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
        """For VFs that were there before our files: each program's arguments as the page has them."""
        for name in names:
            self.host.run(_NMCLI, *(name if word == "NAME" else word for word in typed["nmcli"]))


@contextlib.contextmanager
def running(host: hosts.Host) -> Iterator[NetworkManager]:
    for folder in _STATE:
        folder.mkdir(exist_ok=True)
    etc = host.store / "etc/NetworkManager"
    words = ("--debug", "--plugins=keyfile", f"--config={etc}/NetworkManager.conf", f"--config-dir={etc}/conf.d")
    try:
        with host.daemon("usr/sbin/NetworkManager", *words):
            yield NetworkManager(host)
    finally:
        for folder in _STATE:
            shutil.rmtree(folder)
        hosts.calm()
