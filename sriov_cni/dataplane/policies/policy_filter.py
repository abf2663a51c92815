"""Rules of nftables that hold a pod's network to its policies. Pure.

One table of family inet for each VF of a pod that a policy selects; a pod that none selects has none, and so no
connection tracking. Only a direction that is isolated has chains. The order in each:

1. Out of the pod nothing goes that names another destination than its address says: source routes and routing headers.
2. What belongs to a connection that was let pass, ICMP errors about it, and neighbour discovery. ARP is no IP.
3. The node (below).
4. The openings of the pod's grants: one rule for each set of addresses, IP version and protocol. Sets are shared by
   rules, so that a pod that comes or goes is one element.
5. All else is dropped and counted.

**Connections.** The kernel tracks them by namespace, not by interface, so that a pod could make one up on `lo`, both
directions forged, and then have it let pass here. So a connection has a label that says by which of the pod's policed
interfaces it was let pass: chains behind the others set it. It is no mark, as service meshes use those.

**What it holds for.** `policy: multi` is for the VF's own interface, `policy: kubernetes` for the VF and the host link:
together they are the pod's way into the cluster's network. Interfaces of other networks that Multus adds are none of
NetworkPolicy's, and their peers' addresses are in none of its sets. The VF is named by its index, which no renaming
changes, and by its name, as the kernel gives it another index if its own is taken in the pod.

**The node.** Kubernetes: "traffic to and from the node where a Pod is running is always allowed". An address proves
nothing, as any peer on the VF's network can forge it. What comes by the host link was sent by the node, which drops
forged sources of its own pods. But the node also forwards there: clients of a NodePort with externalTrafficPolicy Local
have their own addresses, and must obey ingress. So both are asked: the link **and** one of the node's own addresses.
What the node masquerades before it forwards it (externalTrafficPolicy Cluster) cannot be told from the node itself.

**`policyRaw`.** A packet socket's frames pass no hook of IP. A chain at the device's egress drops what has not been let
pass by the rules above: that has a mark, random for each pod, and a route (`meta rtclassid`), which no frame of a
packet socket has, so that a guessed mark is worth nothing. The kernel's own ARP and neighbour discovery pass without;
those of a program's socket do not, as they carry what the program likes. Programs' packets with a source that is not
the pod's do not pass either. What announces the pod's addresses has the mark.

The digest of all of it but the mark is the comment of an empty chain: the only comment that a transaction can replace.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from sriov.cluster import pod_policies
from sriov_cni.dataplane.policies import policy_chains, policy_matches

PREFIX = "sriov-policy-"
STAMP = "enforced"
"""The chain whose comment has the digest."""
_RAW_RULES = 5  # of each device


class Filter(msgspec.Struct, frozen=True):
    """What is to be in force. `lines` are chains and rules of the table, in which `{mark}` stands for the mark."""

    scope: pod_policies.Scope
    lines: tuple[str, ...]
    sets: Mapping[str, frozenset[bytes]]
    raw: bool = False

    @property
    def digest(self) -> str:
        found = hashlib.sha256("\n".join((str(self.scope), str(self.raw), *self.lines)).encode())
        for name, addresses in sorted(self.sets.items()):
            found.update(b"\0".join((name.encode(), *sorted(addresses))))
        return found.hexdigest()[:32]

    def rules(self, devices: Collection[str]) -> int:
        """Return how many rules there are with these devices in the pod."""
        return sum(each.startswith("add rule ") for each in self.lines) + (_RAW_RULES * len(devices) if self.raw else 0)


def table_name(interface: str) -> str:
    """Return the name of the tables, whose families are inet and, for packet sockets, netdev."""
    return PREFIX + interface


def compiled(policy: pod_policies.PodPolicy, scope: pod_policies.Scope) -> Filter | None:
    """Return the filter; None if no policy selects the pod."""
    if not policy.selected:
        return None
    raw = scope.raw and policy.egress is not None
    table = f"inet {table_name(scope.interface)}"
    lines = list(policy_chains.labelling(table, scope))
    for direction, grants in (("ingress", policy.ingress), ("egress", policy.egress)):
        if grants is not None:
            accept = "meta mark set {mark} accept" if raw and direction == "egress" else "accept"
            lines += policy_chains.of_direction(table, scope, direction, grants, accept)
    named = {
        policy_matches.set_name(version, name): policy_matches.of_version(each, version)
        for name, each in policy.sets.items()
        for version in policy_matches.VERSIONS
    }
    return Filter(scope, tuple(lines), named, raw)


def commands(wanted: Filter, mark: int, devices: Iterable[str] = (), *, fresh: bool = False) -> str:
    """Return nft's commands that put it in the place of whatever is there, in one transaction.

    `devices` are those of the scope that are in the pod: an egress chain needs its device. With `fresh` they fail if
    there is a table already.
    """
    table = f"inet {table_name(wanted.scope.interface)}"
    return "\n".join(
        (
            *(() if fresh else _emptied(wanted.scope)),
            f"create table {table}",
            f'add chain {table} {STAMP} {{ comment "{wanted.digest}"; }}',
            *_sets(table, wanted.sets),
            *(each.replace("{mark}", f"{mark:#x}") for each in wanted.lines),
            *(_raw(wanted.scope, mark, devices) if wanted.raw else ()),
        )
    )


def removal(scope: pod_policies.Scope) -> str:
    """Return nft's commands that remove all of it, and succeed if there is nothing."""
    return "\n".join(_emptied(scope))


def change(before: Filter, wanted: Filter) -> str | None:
    """Return nft's commands for a change of addresses alone, in one transaction; None if more has changed."""
    if msgspec.structs.replace(before, sets={}) != msgspec.structs.replace(wanted, sets={}):
        return None
    if before.sets.keys() != wanted.sets.keys():
        return None
    table = f"inet {table_name(wanted.scope.interface)}"
    lines = [f"delete chain {table} {STAMP}", f'add chain {table} {STAMP} {{ comment "{wanted.digest}"; }}']
    for name, addresses in wanted.sets.items():
        lines += _elements("delete", table, name, before.sets[name] - addresses)
        lines += _elements("add", table, name, addresses - before.sets[name])
    return "\n".join(lines)


def raw_chain(scope: pod_policies.Scope, mark: int, device: str) -> str:
    """Return nft's commands for one device that has come into the pod."""
    return "\n".join((f"add table netdev {table_name(scope.interface)}", *_raw_chain(scope, mark, device)))


def _emptied(scope: pod_policies.Scope) -> tuple[str, ...]:
    """To delete what is not there fails, and to add what is there does not."""
    tables = (f"inet {table_name(scope.interface)}", *((f"netdev {table_name(scope.interface)}",) if scope.raw else ()))
    return tuple(f"{verb} table {each}" for each in tables for verb in ("add", "delete"))


def _sets(table: str, sets: Mapping[str, frozenset[bytes]]) -> Iterator[str]:
    for name, addresses in sets.items():
        yield f"add set {table} {name} {{ type {policy_matches.TYPES[int(name[1])]}; }}"
        yield from _elements("add", table, name, addresses)


def _elements(verb: str, table: str, name: str, addresses: Iterable[bytes]) -> Iterator[str]:
    if told := ", ".join(map(policy_matches.text, sorted(addresses))):
        yield f"{verb} element {table} {name} {{ {told} }}"


def _raw(scope: pod_policies.Scope, mark: int, devices: Iterable[str]) -> Iterator[str]:
    yield f"create table netdev {table_name(scope.interface)}"
    for device in devices:
        yield from _raw_chain(scope, mark, device)


def _raw_chain(scope: pod_policies.Scope, mark: int, device: str) -> Iterator[str]:
    chain = f"netdev {table_name(scope.interface)} raw{scope.devices.index(device)}"
    yield f'add chain {chain} {{ type filter hook egress device "{device}" priority 0; }}'
    # Every route has a class, 0 mostly; the comparison is true of them all, and fails without a route.
    yield f"add rule {chain} meta mark {mark:#x} meta rtclassid != 4294967295 accept"
    yield f"add rule {chain} meta mark != {mark:#x} {policy_chains.PROGRAMS} drop"
    yield f"add rule {chain} ether type arp accept"
    yield f"add rule {chain} {policy_chains.DISCOVERY['egress']} accept"
    yield f"add rule {chain} drop"  # a chain's policy can be changed without a trace in its rules
