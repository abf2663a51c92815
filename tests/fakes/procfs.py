"""Builder of the part of procfs with the host's routes and addresses, as the kernel writes it."""

import ipaddress
import pathlib

_V4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


class Procfs:
    """A procfs under `root`, without a route. Formats: net/ipv4/fib_trie.c, net/ipv6/route.c, net/ipv6/addrconf.c."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        (root / "net").mkdir(parents=True, exist_ok=True)
        (root / "net/route").write_text(_V4)
        (root / "net/ipv6_route").touch()
        (root / "net/if_inet6").touch()

    def route(self, netdev: str, network: str) -> None:
        """Add a route of the host, as in `0.0.0.0/0`, `10.0.0.0/8` or `::/0`."""
        parsed = ipaddress.ip_network(network)
        if isinstance(parsed, ipaddress.IPv4Network):
            destination, mask = (part.packed[::-1].hex().upper() for part in (parsed.network_address, parsed.netmask))
            self._append("route", f"{netdev}\t{destination}\t0100000A\t0003\t0\t0\t100\t{mask}\t0\t0\t0")
        else:
            destination = parsed.network_address.packed.hex()
            rest = f"{parsed.prefixlen:02x} {'0' * 32} 00 {'0' * 32} 00000400 00000001 00000000 00000001"
            self._append("ipv6_route", f"{destination} {rest} {netdev:>8}")

    def unreachable(self) -> None:
        """Add what every host without IPv6 has: the default route that rejects, on lo."""
        zeros = "0" * 32
        self._append("ipv6_route", f"{zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo")

    def address(self, netdev: str, address: str) -> None:
        """Add an IPv6 address of the host."""
        parsed = ipaddress.IPv6Address(address)
        scope = 0x20 if parsed.is_link_local else 0x00
        self._append("if_inet6", f"{parsed.packed.hex()} 02 40 {scope:02x} 80 {netdev:>8}")

    def _append(self, name: str, line: str) -> None:
        with (self.root / "net" / name).open("a") as file:
            file.write(f"{line}\n")
