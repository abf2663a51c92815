"""The node's rules for all host links: one table of nftables, installed once and then found by its comment.

No rule and no element is a pod's: the rules name only links of ours, and what a packet's source may be, the kernel
looks up in the routes, which hang on the links. So nothing has to be taken away when a namespace dies. The networks of
`viaHost` are those of all pods that the daemon knows. A change replaces the table in one transaction: there is no
moment without it.
"""

import hashlib
import ipaddress
import threading
from collections.abc import Callable, Iterable, Set

from sriov.linux import kernel
from sriov_cni.dataplane import host_link

_one_at_a_time = threading.Lock()
"""Two pods that start at once must not replace each other's networks."""


def ensure(net: kernel.Kernel, known: set[str], wanted: Iterable[str], recorded: Callable[[], Iterable[str]]) -> None:
    """Install the table unless it is there with all `known` networks and those `wanted`, which become known.

    Somebody's `nft flush ruleset` lasts until the next pod. `recorded` returns the networks of the pods that are there.
    """
    with _one_at_a_time:
        every = known | set(wanted)
        if net.nft_comment(host_link.TABLE_NAME) != _digest(every):
            every |= set(recorded())
            net.run_nft(commands(every))
        known.update(every)


def commands(via: Set[str]) -> str:
    """Return nft's commands that make the table, whatever was there.

    What does not have an address as its source that is routed by the link it came from is dropped: forged addresses,
    and IPv6 router advertisements. What was sent to `via` networks and goes on is masqueraded, wherever kube-proxy has
    it go instead: else a backend would answer the pod without the node, and the pod would not know the answer's source.
    """
    table = host_link.TABLE
    return "\n".join(
        (
            f"add table {table}",
            f"delete table {table}",
            f'add table {table} {{ comment "{_digest(via)}"; }}',
            f"add chain {table} guard {{ type filter hook prerouting priority raw; }}",
            f'add rule {table} guard iifname "{host_link.PREFIX}*" fib saddr . iif oif missing counter drop',
            *(_masquerading([ipaddress.ip_network(each) for each in sorted(via)]) if via else ()),
        )
    )


def _digest(via: Set[str]) -> str:
    """Return what tells this table from one with other networks, or of another release."""
    return "rules 1 " + hashlib.sha256(" ".join(sorted(via)).encode()).hexdigest()[:32]


def _masquerading(every: list[kernel.IpNetwork]) -> list[str]:
    table = host_link.TABLE
    ours = f'{table} postrouting iifname "{host_link.PREFIX}*"'
    lines = [f"add chain {table} postrouting {{ type nat hook postrouting priority srcnat; }}"]
    for version, key, kind in ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr")):
        if elements := ", ".join(str(each) for each in every if each.version == version):
            lines += [
                f"add set {table} via{version} {{ type {kind}; flags interval; auto-merge; }}",
                f"add element {table} via{version} {{ {elements} }}",
                f"add rule {ours} ct original {key} daddr @via{version} masquerade",
            ]
    return lines
