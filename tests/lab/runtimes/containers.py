"""Container's program: it writes down the interface it sees, pings another if there is one, and stays."""

import dataclasses
import pathlib
import re

from tests.lab.runtimes import benches

INTERFACE = "eth0"
_LOOK = f"readlink -f /sys/class/net/{INTERFACE}/device >/device; ip address show {INTERFACE} >/part; mv /part /seen"
_PING = "until ping -c 1 -W 1 {peer} >/part; do sleep 0.2; done; mv /part /reached"
_STAY = "exec sleep 600"


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """A container's own view of its network interface."""

    pci: str
    mac: str
    address: str


@dataclasses.dataclass(frozen=True, slots=True)
class Container:
    """`root` is its file system, as the host sees it."""

    name: str
    network: benches.Network
    root: pathlib.Path

    def command(self, peer: str | None = None) -> list[str]:
        return ["/bin/sh", "-c", "; ".join([_LOOK, *([_PING.format(peer=peer)] if peer else []), _STAY])]

    def sees(self) -> Interface:
        """Waits until the container has looked."""
        benches.until((self.root / "seen").exists)
        seen = (self.root / "seen").read_text()
        mac, address = re.search(r"link/ether (\S+)", seen), re.search(r"inet ([\d.]+)/", seen)
        assert mac and address, seen
        return Interface(pathlib.Path((self.root / "device").read_text().strip()).name, mac[1], address[1])

    def reaches(self) -> str:
        """Waits for the first echo; what ping said."""
        benches.until((self.root / "reached").exists)
        return (self.root / "reached").read_text()


def expected(network: benches.Network) -> Interface:
    return Interface(network.pci, network.mac, network.address)
