"""Openings of a policy as nftables matches them: peers of both IP versions, and ports by protocol. Pure."""

import ipaddress
from collections.abc import Iterable, Iterator

from sriov.cluster import policies

VERSIONS = (4, 6)
FAMILIES = {4: "ip", 6: "ip6"}
TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_SIZES = {4: 4, 6: 16}  # bytes


def matches(opening: policies.Opening, peer: str) -> Iterator[str]:
    """Yield one for each set or group of blocks, IP version and protocol. `peer` is "saddr" or "daddr"."""
    for who in _peers(opening, peer):
        for ports in _ports(opening.ports):
            yield f"{who} {ports}".strip()


def _peers(opening: policies.Opening, peer: str) -> Iterator[str]:
    """Yield a match for each IP version of each of the peers; an empty one is everybody."""
    if set(policies.EVERYWHERE) <= {*opening.blocks}:
        yield ""
        return
    for version, everybody in zip(VERSIONS, policies.EVERYWHERE, strict=True):
        blocks = [each for each in opening.blocks if len(each.first) == _SIZES[version]]
        if everybody in blocks:
            yield f"meta nfproto ipv{version}"
            continue
        for name in opening.sets:
            yield f"{FAMILIES[version]} {peer} @{set_name(version, name)}"
        if blocks:
            yield f"{FAMILIES[version]} {peer} {{ {', '.join(map(_block, policies.united(blocks)))} }}"


def _ports(ports: tuple[policies.PortSpan, ...] | None) -> Iterator[str]:
    if ports is None:
        yield ""
        return
    for transport in policies.Transport:
        spans = _united((each.first, each.last) for each in ports if each.transport is transport)
        protocol = transport.value.lower()
        if policies.ALL_PORTS in spans:
            yield f"meta l4proto {protocol}"
        elif spans:
            yield f"{protocol} dport {{ {', '.join(_span(*each) for each in spans)} }}"


def _united(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _block(span: policies.Span) -> str:
    first, last = map(text, (span.first, span.last))
    return first if first == last else f"{first}-{last}"


def text(address: bytes) -> str:
    """Return the address as nft reads it."""
    return str(ipaddress.ip_address(address))


def set_name(version: int, name: str) -> str:
    """Return the name in nftables of the addresses of one version."""
    return f"s{version}_{name}"


def of_version(addresses: Iterable[bytes], version: int) -> frozenset[bytes]:
    return frozenset(each for each in addresses if len(each) == _SIZES[version])
