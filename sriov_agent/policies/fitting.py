"""Room in a node's table for its pods' policies. What does not fit is closed, for the pods that it is of. Pure.

Whoever may write a namespace's policies may write more of them than a node takes. That is to be felt by pods of that
namespace and by nobody else, so the namespaces with the least come first, and in each the pods with the least.
"""

import collections
from collections.abc import Iterator, Mapping

import msgspec

from sriov.cluster import policies, policy_changes, policy_frames
from sriov.cluster.policies import Place, PolicyTable, Rules

_ADDRESS, _SET, _REST = 18, 32, 1024  # bytes in a frame, with msgpack's heads
_encode = msgspec.msgpack.Encoder().encode


class TableRoom(msgspec.Struct, frozen=True):
    """How much a node takes; `size` in bytes. The last two are of one pod: what loads its rules takes up to 5 kB of
    memory for a part, and 0.6 kB for an address."""

    sets: int = policy_frames.MOST_SETS
    addresses: int = policy_frames.MOST_ADDRESSES
    grants: int = policy_frames.MOST_GRANTS
    places: int = policy_frames.MOST_PLACES
    size: int = policy_frames.MOST_BYTES
    pod_parts: int = 1 << 14
    pod_addresses: int = 1 << 17


ROOM = TableRoom()


class FittedTable(msgspec.Struct, frozen=True):
    """`closed`: nothing passes there where policies isolate the pod. `unknown` are pods that the table lacks."""

    table: PolicyTable
    closed: frozenset[Place] = frozenset()
    unknown: frozenset[tuple[str, str]] = frozenset()


class GrantSize(msgspec.Struct, frozen=True):
    """What a grant takes: bytes in a frame, and openings with their peers and ports."""

    size: int
    parts: int


Sizes = Mapping[str, GrantSize]
"""Of grants, by name."""


def measured(name: str, grant: policies.Grant) -> GrantSize:
    parts = sum(1 + len(each.sets) + len(each.blocks) + len(each.ports or ()) for each in grant.openings)
    return GrantSize(len(_encode((name, grant))), parts)


def fitted(table: PolicyTable, sizes: Sizes, room: TableRoom = ROOM) -> FittedTable:
    """Return as much of the table as there is room for; mostly that is all."""
    large = frozenset(_too_large(table, sizes, room))
    if not large and len(table.rules) <= room.places and _is_roomy(table, sizes, room):
        return FittedTable(table)
    unknown = frozenset(_with_most_networks(table, room.places))
    known = {place: each for place, each in table.rules.items() if place[:2] not in unknown}
    shut = {place: _shut(each) for place, each in known.items() if place in large}
    closed = frozenset(_closed(table, known | shut, sizes, room)).union(shut)
    rules = {place: _shut(each) if place in closed else each for place, each in known.items()}
    return FittedTable(_with(table, rules), closed, unknown)


def _too_large(table: PolicyTable, sizes: Sizes, room: TableRoom) -> Iterator[Place]:
    has_many = sum(map(len, table.sets.values())) > room.pod_addresses
    for place, rules in table.rules.items():
        parts = sum(sizes[name].parts for name in policy_changes.grants_of(rules))
        if parts > room.pod_parts or (has_many and _addresses(table, rules) > room.pod_addresses):
            yield place


def _addresses(table: PolicyTable, rules: Rules) -> int:
    grants = map(table.grants.__getitem__, policy_changes.grants_of(rules))
    return sum(len(table.sets[name]) for name in {name for each in grants for name in policy_changes.sets_of(each)})


def _is_roomy(table: PolicyTable, sizes: Sizes, room: TableRoom) -> bool:
    addresses = sum(map(len, table.sets.values()))
    rest = sum(each.size for each in sizes.values()) + sum(len(_encode(each)) for each in table.rules.items())
    return _share(room, len(table.sets), addresses, len(table.grants), rest) <= 1


def _share(room: TableRoom, sets: int, addresses: int, grants: int, rest: int) -> float:
    """Return which part of the room is taken, of what most is. `rest` are the bytes of grants and rules."""
    total = _REST + sets * _SET + addresses * _ADDRESS + rest
    return max(sets / room.sets, addresses / room.addresses, grants / room.grants, total / room.size)


class _Load:
    """What rules take, and each of their grants and sets once. `rest` as above."""

    def __init__(self, table: PolicyTable, sizes: Sizes, rest: int = 0) -> None:
        self._table, self._sizes = table, sizes
        self._grants, self._sets = set[str](), set[str]()
        self._addresses, self._rest = 0, rest

    def add(self, place: Place, rules: Rules, room: TableRoom, *, most: float) -> float | None:
        """Return which part of the room is taken with these rules; None if more than `most`: not added then."""
        grants = {*policy_changes.grants_of(rules)} - self._grants
        sets = {each for name in grants for each in policy_changes.sets_of(self._table.grants[name])} - self._sets
        addresses = self._addresses + sum(len(self._table.sets[each]) for each in sets)
        rest = self._rest + sum(self._sizes[name].size for name in grants) + len(_encode((place, rules)))
        share = _share(room, len(self._sets) + len(sets), addresses, len(self._grants) + len(grants), rest)
        if share > most:
            return None
        self._grants |= grants
        self._sets |= sets
        self._addresses, self._rest = addresses, rest
        return share


def _with_most_networks(table: PolicyTable, most: int) -> Iterator[tuple[str, str]]:
    """Yield pods until the others fit: those with the most networks that policies are for."""
    counts = collections.Counter(place[:2] for place in table.rules)
    used = 0
    for pod, count in sorted(counts.items(), key=lambda each: (each[1], each[0])):
        used += count
        if used > most:
            yield pod


def _closed(table: PolicyTable, known: Mapping[Place, Rules], sizes: Sizes, room: TableRoom) -> Iterator[Place]:
    spaces = collections.defaultdict[str, _Load](lambda: _Load(table, sizes))
    of_space, own = dict[str, float](), dict[Place, float]()
    for place, rules in known.items():
        of_space[place[0]] = spaces[place[0]].add(place, rules, room, most=float("inf")) or 0.0
        own[place] = _Load(table, sizes).add(place, rules, room, most=float("inf")) or 0.0
    taken = _Load(table, sizes, sum(len(_encode((place, _shut(each)))) for place, each in known.items()))
    for place in sorted(known, key=lambda each: (of_space[each[0]], own[each], each)):
        if taken.add(place, known[place], room, most=1) is None:
            yield place


def _shut(rules: Rules) -> Rules:
    ingress, egress = (None if rules.of(each) is None else () for each in policies.PolicyDirection)
    return Rules(ingress, egress, rules.uid)


def _with(table: PolicyTable, rules: dict[Place, Rules]) -> PolicyTable:
    """Return the table with these rules, and with nothing that they do not need."""
    named = {name for each in rules.values() for name in policy_changes.grants_of(each)}
    grants = {name: each for name, each in table.grants.items() if name in named}
    needed = {name for each in grants.values() for name in policy_changes.sets_of(each)}
    sets = {name: each for name, each in table.sets.items() if name in needed}
    return PolicyTable(sets, grants, rules, table.kinds)
