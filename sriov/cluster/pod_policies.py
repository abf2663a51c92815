"""Policies of one pod in one of its networks, as a table of them says. Pure."""

from collections.abc import Mapping

import msgspec

from sriov.cluster import policies

CLUSTER = ""
"""The cluster's own network, as a Place names it."""


class PodPolicy(msgspec.Struct, frozen=True):
    """Grants for each direction, None for one that no policy isolates; `sets` are those that the grants name."""

    ingress: tuple[policies.Grant, ...] | None = None
    egress: tuple[policies.Grant, ...] | None = None
    sets: Mapping[str, frozenset[bytes]] = {}

    @property
    def selected(self) -> bool:
        return self.ingress is not None or self.egress is not None

    def of(self, direction: policies.PolicyDirection) -> tuple[policies.Grant, ...] | None:
        return self.ingress if direction is policies.PolicyDirection.INGRESS else self.egress


class Scope(msgspec.Struct, frozen=True):
    """Where a pod's policy holds. `index` is the VF's in the pod, 0 if it is not known before the VF is there.

    `host_link` is the name of the pod's end, "" for none, and `nodes` are the node's own addresses. `raw`: packet
    sockets are held to it, too.
    """

    interface: str
    index: int = 0
    host_link: str = ""
    nodes: tuple[str, ...] = ()
    raw: bool = False

    @property
    def devices(self) -> tuple[str, ...]:
        """The pod's interfaces for which it holds."""
        return tuple(filter(None, (self.interface, self.host_link)))


class PolicedPod(msgspec.Struct, frozen=True):
    """An attachment that policies hold for. `path` leads to its namespace, whose device and inode `netns` are.

    `driver` is a userspace driver of the VF, "" for none: no rule holds then, as the kernel sees no packet. `uid` is
    the pod's, "" if the runtime told none.
    """

    place: policies.Place
    scope: Scope
    path: str
    netns: tuple[int, int]
    driver: str = ""
    uid: str = ""

    @property
    def asked(self) -> tuple[str, str, str, str]:
        """What its policy is asked for by."""
        return *self.place, self.uid

    @property
    def key(self) -> tuple[tuple[int, int], str]:
        return self.netns, self.scope.interface


EVERYTHING = PodPolicy()
NOTHING = PodPolicy((), ())


def of(table: policies.PolicyTable, namespace: str, pod: str, network: str, uid: str = "") -> PodPolicy | None:
    """Return None for a pod that is not in the table, or if policies of its network are not watched. `network` is ""
    for the cluster's own, else a name as a network configuration has it, without a namespace.

    What a rule names and the table lacks lets nothing pass.
    """
    if not knows(table, namespace, pod, uid) or unwatched(table, network):
        return None
    place = (namespace, pod, network)
    rules = table.rules[place] if network == CLUSTER else _common(table.by_name.get(place, []))
    if rules is None:
        return EVERYTHING
    ingress, egress = (_granted(table, rules.of(each)) for each in policies.PolicyDirection)
    named = {name for grant in (*(ingress or ()), *(egress or ())) for each in grant.openings for name in each.sets}
    return PodPolicy(ingress, egress, {name: table.sets.get(name, frozenset()) for name in sorted(named)})


def knows(table: policies.PolicyTable, namespace: str, pod: str, uid: str = "") -> bool:
    """Report whether the pod is in the table. With another `uid` it is another pod; without one, the name decides."""
    own = table.rules.get((namespace, pod, CLUSTER))
    return own is not None and (uid == own.uid or not (uid and own.uid))


def unwatched(table: policies.PolicyTable, network: str) -> str:
    """Return the kind of policies that are for this network and that nobody watches; "" if they are watched."""
    kind = policies.PolicyKind.NETWORK if network == CLUSTER else policies.PolicyKind.MULTI
    return "" if kind in table.kinds else kind.value


def _granted(table: policies.PolicyTable, names: tuple[str, ...] | None) -> tuple[policies.Grant, ...] | None:
    return None if names is None else tuple(table.grants.get(each, policies.Grant(each)) for each in names)


def _common(found: list[policies.Rules]) -> policies.Rules | None:
    """Networks of several namespaces may have one name, and the configuration does not say which is meant. So a policy
    for any of them isolates, and opens only what it opens in all that are isolated: never what another one denies."""
    if len(found) < 2:
        return found[0] if found else None
    ingress, egress = (_shared(found, each) for each in policies.PolicyDirection)
    return policies.Rules(ingress, egress)


def _shared(found: list[policies.Rules], direction: policies.PolicyDirection) -> tuple[str, ...] | None:
    isolating = [each for rules in found if (each := rules.of(direction)) is not None]
    if not isolating:
        return None
    shared = set(isolating[0]).intersection(*isolating[1:])
    return tuple(name for name in isolating[0] if name in shared)
