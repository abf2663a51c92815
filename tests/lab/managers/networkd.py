"""Debian's systemd-networkd with the catch-all that comes with it as an example: DHCP on each Ethernet netdev."""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

from tests.lab.managers import hosts

_STATE = pathlib.Path("/run/systemd/netif")
_EXAMPLE = "lib/systemd/network/80-ethernet.network.example"
_NETWORKCTL = "bin/networkctl"
_USER = "systemd-network"


@dataclasses.dataclass(frozen=True, slots=True)
class Networkd:
    host: hosts.Host

    def states(self) -> dict[str, str]:
        """Of each netdev, by name: the last column."""
        told = self.host.run(_NETWORKCTL, "list", "--no-pager", "--no-legend")
        return {words[1]: words[-1] for words in map(str.split, told.splitlines())}

    def let_go(self, typed: Mapping[str, Sequence[str]], _: Sequence[str]) -> None:
        """For VFs that were there before our files: each program's arguments as the page has them."""
        self.host.run(_NETWORKCTL, *typed["networkctl"])


@contextlib.contextmanager
def running(host: hosts.Host) -> Iterator[Networkd]:
    target = pathlib.Path("/etc/systemd/network/80-ethernet.network")
    _STATE.mkdir(parents=True)
    shutil.chown(_STATE, _USER, _USER)
    try:
        with hosts.file(target, (host.store / _EXAMPLE).read_text()), host.daemon("lib/systemd/systemd-networkd"):
            yield Networkd(host)
    finally:
        shutil.rmtree(_STATE)
        hosts.calm()
