"""Chains of a pod's table: what passes in one direction, and the label of connections that were let pass. Pure.

What each is for is in `policy_filter`. Functions yield nft's commands for the table of family inet whose name they get.
"""

import functools
import ipaddress
from collections.abc import Iterator, Sequence

from sriov.cluster import pod_policies, policies
from sriov_cni.dataplane.policies import policy_matches

PROGRAMS = "meta skuid != 4294967295"
"""A socket of a program sent it: the kernel's own have no owner, and no owner has this number."""
DISCOVERY = {  # RFC 4861; the hop limit shows that no router has forwarded it
    "ingress": "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } ip6 hoplimit 255",
    "egress": "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } ip6 hoplimit 255",
}
_LISTENERS = {  # RFC 2710 and 3810: a switch that snoops forgets who does not report, and discovery with it
    "ingress": "icmpv6 type mld-listener-query ip6 hoplimit 1",
    "egress": "icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } ip6 hoplimit 1",
}
_CONNECTED = "ct state established,related ct label {label}"
_ELSEWHERE = ("exthdr rt exists", "ip option lsrr exists", "ip option ssrr exists")
_LABELS = 128  # NF_CT_LABELS_MAX_SIZE, in bits
_HOOKS = {"ingress": ("input", "iif", "saddr", 0), "egress": ("output", "oif", "daddr", 1)}
"""Hook, word for the interface, word for the peer's address, and the place at the hook `forward`."""


def of_direction(
    table: str, scope: pod_policies.Scope, direction: str, grants: Sequence[policies.Grant], accept: str
) -> Iterator[str]:
    """Yield chains and rules for what an isolated direction lets pass, with the verdict `accept`."""
    hook, way, peer, place = _HOOKS[direction]
    yield f"add counter {table} {direction}-dropped"
    yield f"add chain {table} {direction}"
    for match in _refused(scope) if direction == "egress" else ():
        yield f"add rule {table} {direction} {match} counter name {direction}-dropped drop"
    connected = _CONNECTED.format(label=label(scope))
    for match in (connected, DISCOVERY[direction], _LISTENERS[direction], *_node(scope, way, peer)):
        yield f"add rule {table} {direction} {match} {accept}"
    for each in dict.fromkeys(
        match for grant in grants for opening in grant.openings for match in policy_matches.matches(opening, peer)
    ):
        yield f"add rule {table} {direction} {each} {accept}".replace("  ", " ")
    yield f"add rule {table} {direction} counter name {direction}-dropped drop"
    # A pod may forward, too. There one packet has both directions, and each its own chain: the first accept ends one.
    for name, at, priority in ((hook, hook, 0), (f"forward-{direction}", "forward", place)):
        yield f"add chain {table} {name} {{ type filter hook {at} priority {priority}; }}"
        for interface in _interfaces(scope, way):
            yield f"add rule {table} {name} {interface} jump {direction}"


def labelling(table: str, scope: pod_policies.Scope) -> Iterator[str]:
    """Yield chains behind all others: what comes here by the interface was let pass."""
    for hook, ways, priority in (("input", ("iif",), 1), ("output", ("oif",), 1), ("forward", ("iif", "oif"), 2)):
        yield f"add chain {table} passed-{hook} {{ type filter hook {hook} priority {priority}; }}"
        for interface in (each for way in ways for each in _interfaces(scope, way)):
            yield f"add rule {table} passed-{hook} {interface} ct state new ct label set {label(scope)}"


def _refused(scope: pod_policies.Scope) -> tuple[str, ...]:
    """What leaves no pod, or none whose raw sockets are held."""
    if not scope.raw:
        return _ELSEWHERE
    forged = f"{PROGRAMS} fib saddr type != local"
    return (*_ELSEWHERE, *(f"{each} {PROGRAMS}" for each in (DISCOVERY["egress"], _LISTENERS["egress"])), forged)


def label(scope: pod_policies.Scope) -> int:
    """Names that differ in the last two digits alone never have the same; of others a pod may have only one."""
    number = functools.reduce(lambda before, each: before * 10 + each, scope.interface.encode(), 0)
    return 1 + number % (_LABELS - 1)


def _interfaces(scope: pod_policies.Scope, way: str) -> Iterator[str]:
    if scope.index:
        yield f"{way} {scope.index}"
    for name in scope.devices:
        yield f'{way}name "{name}"'


def _node(scope: pod_policies.Scope, way: str, peer: str) -> Iterator[str]:
    if not scope.host_link:
        return
    for version in policy_matches.VERSIONS:
        if own := [each for each in scope.nodes if ipaddress.ip_address(each).version == version]:
            yield f'{way}name "{scope.host_link}" {policy_matches.FAMILIES[version]} {peer} {{ {", ".join(own)} }}'
