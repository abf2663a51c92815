"""Changes of the policies' table: what turns one into another, whom one concerns, and which no cluster has. Pure."""

import re
from collections.abc import Iterator

from sriov import errors
from sriov.cluster import policies

_REMEDY = "the agent sent it; its log says from what it was made"
_SET_NAME = re.compile(r"[0-9a-f]{16}")
_OBJECT_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
"""Of a namespace, a pod, a policy or a network (RFC 1123, apimachinery/pkg/util/validation)."""
_KIND_NAME = re.compile(r"[A-Za-z]{1,63}")
_MOST_KINDS = 16  # of an agent of a later release, too
_UID = re.compile(r"[-_.0-9A-Za-z]{1,128}")
"""Of a pod: 36 characters, 32 of a static one, or what its file says (pkg/kubelet/config/common.go, applyDefaults)."""
_LONGEST_GRANT = 1024  # it has a policy's name, and the ports that a name means


def difference(old: policies.PolicyTable, new: policies.PolicyTable) -> policies.PolicyChange:
    """Return what turns `old` into `new`."""
    return policies.PolicyChange(
        {name: _set_change(old.sets.get(name), each) for name, each in new.sets.items() if old.sets.get(name) != each},
        {name: each for name, each in new.grants.items() if old.grants.get(name) != each},
        {place: each for place, each in new.rules.items() if old.rules.get(place) != each},
        tuple(old.sets.keys() - new.sets.keys()),
        tuple(old.grants.keys() - new.grants.keys()),
        tuple(old.rules.keys() - new.rules.keys()),
        kinds=None if old.kinds == new.kinds else tuple(sorted(new.kinds)),
    )


def whole(table: policies.PolicyTable) -> policies.PolicyChange:
    """Return the change that makes this table of any."""
    sets = {name: policies.SetChange(tuple(sorted(each))) for name, each in table.sets.items()}
    return policies.PolicyChange(sets, table.grants, table.rules, whole=True, kinds=tuple(sorted(table.kinds)))


def concerned(table: policies.PolicyTable, change: policies.PolicyChange) -> frozenset[policies.Place]:
    """Return the places whose rules, grants or sets are other than before. `table` has the change already.

    What comes to be watched concerns all of them: what no policy selects has no place of its own.
    """
    if change.kinds is not None:
        return frozenset(table.rules).union(change.gone_rules)
    others = {name for name, each in table.grants.items() if not change.sets.keys().isdisjoint(sets_of(each))}
    grants = others | change.grants.keys()
    places = {place for place, each in table.rules.items() if not grants.isdisjoint(grants_of(each))}
    return frozenset(places | change.rules.keys()).union(change.gone_rules)


def grants_of(rules: policies.Rules) -> tuple[str, ...]:
    """Return the names of the grants of both directions."""
    return (*(rules.ingress or ()), *(rules.egress or ()))


def check(change: policies.PolicyChange) -> None:
    """Raises SriovError, which names the value, if somebody sends what no cluster has."""
    for name, each in change.sets.items():
        _check_set(name, each)
    for name, grant in change.grants.items():
        _check_grant(name, grant)
    for place, rules in change.rules.items():
        _check_place(place, rules)
    _check_kinds(change.kinds or ())


def check_names(table: policies.PolicyTable) -> None:
    """Raises SriovError if rules name a grant, or a grant a set, that is not there."""
    for place, rules in table.rules.items():
        for name in grants_of(rules):
            if name not in table.grants:
                raise _wrong(f"pod {place[0]}/{place[1]}", f"the grant {name!r} is not in the table")
    for name, grant in table.grants.items():
        for each in sets_of(grant):
            if each not in table.sets:
                raise _wrong(f"grant {name!r}", f"the set {each!r} is not in the table")


def is_uid(text: str) -> bool:
    """Report whether it may be a pod's UID."""
    return _UID.fullmatch(text) is not None


def is_object_name(name: str) -> bool:
    return _OBJECT_NAME.fullmatch(name) is not None


def is_qualified(text: str) -> bool:
    """Report whether it is namespace/name."""
    namespace, _, name = text.partition("/")
    return is_object_name(namespace) and is_object_name(name)


def _set_change(before: frozenset[bytes] | None, now: frozenset[bytes]) -> policies.SetChange:
    known = before or frozenset()
    return policies.SetChange(tuple(sorted(now - known)), tuple(sorted(known - now)))


def sets_of(grant: policies.Grant) -> Iterator[str]:
    return (name for opening in grant.openings for name in opening.sets)


def _check_set(name: str, each: policies.SetChange) -> None:
    if not _SET_NAME.fullmatch(name):
        raise _wrong(f"set {name!r}", "a set's name is 16 digits of 0-9 and a-f")
    for address in (*each.new, *each.gone):
        if len(address) not in (4, 16):
            raise _wrong(f"set {name!r}", f"an address of {len(address)} bytes, where one has 4 or 16")


def _check_grant(name: str, grant: policies.Grant) -> None:
    if not (0 < len(name) <= _LONGEST_GRANT and name.isprintable()):
        raise _wrong(f"grant {name[:60]!r}", f"a grant's name is 1 to {_LONGEST_GRANT} printable characters")
    if not is_qualified(grant.policy):
        raise _wrong(f"grant {name!r}", f"{grant.policy!r} is no policy's namespace/name")
    for opening in grant.openings:
        for block in opening.blocks:
            if len(block.first) != len(block.last) or len(block.first) not in (4, 16) or block.first > block.last:
                raise _wrong(f"grant {name!r}", f"no addresses go from {block.first.hex()} to {block.last.hex()}")
        for ports in opening.ports or ():
            if not 0 <= ports.first <= ports.last <= policies.ALL_PORTS[1]:
                raise _wrong(f"grant {name!r}", f"no ports go from {ports.first} to {ports.last}")


def _check_kinds(kinds: tuple[str, ...]) -> None:
    if len(kinds) > _MOST_KINDS:
        raise _wrong("kinds of policies", f"{len(kinds)} of them, where at most {_MOST_KINDS} are taken")
    for each in kinds:
        if not _KIND_NAME.fullmatch(each):
            raise _wrong(f"kind {each[:60]!r}", "a kind's name is 1 to 63 letters")


def _check_place(place: policies.Place, rules: policies.Rules) -> None:
    namespace, name, network = place
    if not (is_object_name(namespace) and is_object_name(name)):
        raise _wrong(f"rules of {namespace!r}, {name!r}", "these are no namespace and pod")
    if network and not is_qualified(network):
        raise _wrong(f"pod {namespace}/{name}", f"{network!r} is no network's namespace/name")
    if rules.uid and not is_uid(rules.uid):
        raise _wrong(f"pod {namespace}/{name}", f"{rules.uid[:60]!r} is no UID")


def _wrong(where: str, why: str) -> errors.SriovError:
    return errors.SriovError(f"table of policies: {where}: {why}", _REMEDY)
