"""View of the cluster's policies: the objects that were seen, and the rules of this node's pods. Pure.

Only policies that select a pod of this node are compiled, and again only if an event touched what they depend on.
"""

import collections
import hashlib
from collections.abc import Callable, Iterator, Mapping

import msgspec

from sriov.cluster import policies, policy_changes
from sriov.cluster.policies import PolicyDirection
from sriov_agent import objects as watched
from sriov_agent.policies import fitting, granting, networks, objects, pods, reading, selectors

_LONGEST = 400  # characters of the ports in a grant's name: a pod may have thousands of them

Named = tuple[str, str]
"""Kind and namespace/name of a policy."""


class _Source(msgspec.Struct, frozen=True):
    """What a grant is made of; `ports` are those of the pods that have it."""

    policy: Named
    direction: PolicyDirection
    ports: tuple[pods.NamedPort, ...]

    @property
    def name(self) -> str:
        numbers = "".join(f" {each.name}={each.number}/{each.transport}" for each in self.ports)
        if len(numbers) > _LONGEST:
            numbers = f" {hashlib.sha256(numbers.encode()).hexdigest()}"
        return f"{self.policy[0]} {self.policy[1]} {self.direction}{numbers}"


class _Made(msgspec.Struct, frozen=True):
    """A grant and what it takes, the sets that it names, and the choices of pods whose ports it depends on."""

    grant: policies.Grant
    size: fitting.GrantSize
    sets: Mapping[str, granting.AddressSet]
    receivers: frozenset[pods.PodChoice]


class PolicyView:
    """`fitted` is what the changes so far add up to, with `room` for so much.

    `awaited` are pods that are being asked for; one of which an event tells is none any more.
    """

    def __init__(self, node: str, complain: Callable[[str], None], room: fitting.TableRoom = fitting.ROOM) -> None:
        self._node, self._complain, self._room = node, complain, room
        self._stale_choices: set[pods.PodChoice] = set()
        self._stale_policies: set[Named] = set()
        self._stale_pods: set[pods.Key] = set()
        self._population = pods.Population(self._stale_choices.add)
        self._policies: dict[Named, reading.ReadPolicy] = {}
        self._in: dict[str, set[Named]] = collections.defaultdict(set)  # by namespace
        self._local: dict[str, set[pods.Key]] = collections.defaultdict(set)  # by namespace
        self._sources: dict[pods.Key, dict[str, _Source]] = {}
        self._made: dict[str, _Made] = {}
        self.awaited: set[pods.Key] = set()
        self._sets: dict[str, frozenset[bytes]] = {}
        self._rules: dict[policies.Place, policies.Rules] = {}
        self._kinds = {policies.PolicyKind.NETWORK.value}  # nothing is sent before they are listed
        self.fitted = fitting.FittedTable(policies.PolicyTable())

    @property
    def table(self) -> policies.PolicyTable:
        return self.fitted.table

    @property
    def sets(self) -> dict[str, frozenset[bytes]]:
        return self.table.sets

    @property
    def grants(self) -> dict[str, policies.Grant]:
        return self.table.grants

    @property
    def rules(self) -> dict[policies.Place, policies.Rules]:
        return self.table.rules

    def put(self, seen: watched.AnyObject) -> None:
        """Take note of an object that is new or changed."""
        match seen:
            case objects.PodObject():
                self.put_pod(seen)
            case objects.NamespaceObject():
                self.put_namespace(seen)
            case objects.PolicyObject():
                self.put_policy(seen, multi=isinstance(seen, objects.MultiPolicyObject))

    def remove(self, kind: type[watched.AnyObject], key: pods.Key) -> None:
        """Take note that an object is gone."""
        if kind is objects.PodObject:
            self.drop_pod(key)
        elif kind is objects.NamespaceObject:
            self.drop_namespace(key[1])
        else:
            self.drop_policy(key, multi=kind is objects.MultiPolicyObject)

    def only(self, kind: type[watched.AnyObject], keys: set[pods.Key]) -> None:
        """Remove what a complete list does not have."""
        for key in self._known(kind) - keys:
            self.remove(kind, key)
        if issubclass(kind, objects.PolicyObject):
            self._kinds.add(_kind(kind).value)

    def absent(self, kind: type[watched.AnyObject]) -> None:
        """Remove all of a kind that the API server does not serve; nobody knows then which policies there are."""
        self.only(kind, set())
        if issubclass(kind, objects.PolicyObject):
            name = _kind(kind).value
            self._kinds.discard(name)
            self._complain(f"the API server does not serve {name}: of pods that it could be for, nothing is known")

    def counts(self) -> dict[str, int]:
        """Return how many objects of each kind rules are made of. Of pods, those with addresses of their own."""
        found = {"Pod": len(self._population.pods), "Namespace": len(self._population.namespaces)}
        return found | collections.Counter(kind for kind, _ in self._policies)

    def _known(self, kind: type[watched.AnyObject]) -> set[pods.Key]:
        if kind is objects.PodObject:
            return {*self._population.pods}
        if kind is objects.NamespaceObject:
            return {("", name) for name in self._population.namespaces}
        wanted = _named(("", ""), kind is objects.MultiPolicyObject)[0]
        parts = (name.partition("/") for its, name in self._policies if its == wanted)
        return {(namespace, name) for namespace, _, name in parts}

    def whole(self) -> policies.PolicyChange:
        """Return the table as it is now, with what has been noted since the last change."""
        self.change()
        return policy_changes.whole(self.table)

    def put_namespace(self, seen: objects.NamespaceObject) -> None:
        self._population.put_namespace(seen.metadata.name, seen.metadata.labels)

    def drop_namespace(self, name: str) -> None:
        self._population.put_namespace(name, None)

    def put_pod(self, seen: objects.PodObject) -> None:
        self._put_pod(seen.metadata.key, pods.facts(seen, self._complain))

    def drop_pod(self, key: pods.Key) -> None:
        self._put_pod(key, None)

    def put_policy(self, seen: objects.PolicyObject, *, multi: bool = False) -> None:
        name = _named(seen.metadata.key, multi)
        self.drop_policy(seen.metadata.key, multi=multi)
        self._policies[name] = reading.read(seen, self._complain, multi=multi)
        self._in[name[1].partition("/")[0]].add(name)
        self._touch(name)

    def drop_policy(self, key: pods.Key, *, multi: bool = False) -> None:
        name = _named(key, multi)
        if name in self._policies:
            self._touch(name)
            del self._policies[name]
            self._in[key[0]].discard(name)

    def change(self) -> policies.PolicyChange:
        """Bring the rules up to date, and return what has changed in them."""
        self._rules = self._compile_rules()
        self._made = made = self._compile_grants()
        wanted = {name: one for each in made.values() for name, one in each.sets.items()}
        self._sets = {name: self._addresses(name, each) for name, each in wanted.items()}
        before = self.table
        self._fit()
        self._population.keep(
            {each.choice for each in wanted.values()}.union(*(each.receivers for each in made.values()))
        )
        for stale in (self._stale_choices, self._stale_policies, self._stale_pods):
            stale.clear()
        return policy_changes.difference(before, self.table)

    def _fit(self) -> None:
        grants = {name: each.grant for name, each in self._made.items()}
        table = policies.PolicyTable(self._sets, grants, self._rules, frozenset(self._kinds))
        self.fitted = fitting.fitted(table, {name: each.size for name, each in self._made.items()}, self._room)
        for namespace, pod, network in self.fitted.closed:
            where = f" in network {network}" if network else ""
            self._complain(
                f"Pod {namespace}/{pod}: its policies{where} are more than a node takes; what they isolate is closed"
            )
        for namespace, pod in self.fitted.unknown:
            self._complain(
                f"Pod {namespace}/{pod}: its networks with policies are more than a node takes; the pod is left out,"
                " so that it keeps the rules that it has, and is unknown when it starts"
            )

    def _put_pod(self, key: pods.Key, pod: pods.PodFacts | None) -> None:
        self.awaited.discard(key)
        self._population.put(key, pod)
        here = self._local[key[0]]
        if pod is not None and pod.node == self._node:
            here.add(key)
        elif key not in here:
            return
        else:
            here.discard(key)
        self._stale_pods.add(key)

    def _touch(self, name: Named) -> None:
        self._stale_policies.add(name)
        self._stale_pods |= self._local[name[1].partition("/")[0]]

    def _compile_rules(self) -> dict[policies.Place, policies.Rules]:
        """Work out again which grants the pods have that were touched, for each of their networks."""
        rules = {place: each for place, each in self._rules.items() if place[:2] not in self._stale_pods}
        for key in self._stale_pods:
            self._sources.pop(key, None)
            if key in self._local[key[0]]:
                rules |= self._of_pod(self._population.pods[key])
        return rules

    def _of_pod(self, pod: pods.PodFacts) -> Iterator[tuple[policies.Place, policies.Rules]]:
        sources = self._sources[pod.key] = {}
        selecting = [each for each in self._in[pod.key[0]] if self._selects(each, pod)]
        meant = {name: frozenset(self._policies[name].networks) for name in selecting}  # a tenant may name thousands
        rules = dict[str, policies.Rules]()
        for network in dict.fromkeys(("", *pod.asked, *pod.addresses, *self._named_by_policies(pod))):
            found = []
            for direction in PolicyDirection:
                named = {each.name: each for each in self._sourced(pod, meant, network, direction)}
                sources |= named
                found.append(tuple(sorted(named)) or None)
            ingress, egress = found
            rules[network] = policies.Rules(ingress, egress, pod.uid)
            if network == "" or found != [None, None]:
                yield (*pod.key, network), rules[network]
        if alike := networks.alike(rules):
            self._complain(
                f"Pod {'/'.join(pod.key)}: its networks {' and '.join(alike)} have one name, and the CNI daemon cannot"
                " tell them apart: where policies isolate one of them, only those for both let something pass"
            )

    def _named_by_policies(self, pod: pods.PodFacts) -> Iterator[str]:
        """Yield every network that it may have, of a pod whose annotations cannot be read."""
        if pod.unread:
            for name in sorted(self._in[pod.key[0]]):
                yield from self._policies[name].networks

    def _selects(self, name: Named, pod: pods.PodFacts) -> bool:
        return selectors.takes(self._policies[name].subject.pods, pod.labels)

    def _sourced(
        self, pod: pods.PodFacts, meant: Mapping[Named, frozenset[str]], network: str, direction: PolicyDirection
    ) -> Iterator[_Source]:
        for name, its in meant.items():
            if network in its and direction in (policy := self._policies[name]).rules:
                yield _Source(name, direction, granting.variant(policy, direction, pod))

    def _compile_grants(self) -> dict[str, _Made]:
        used = {name: source for each in self._sources.values() for name, source in each.items()}
        return {name: self._grant(self._made.get(name), source) for name, source in used.items()}

    def _grant(self, before: _Made | None, source: _Source) -> _Made:
        is_stale = before is None or not before.receivers.isdisjoint(self._stale_choices)
        if before is not None and not is_stale and source.policy not in self._stale_policies:
            return before
        policy, sets = self._policies[source.policy], dict[str, granting.AddressSet]()
        made = granting.grant(policy, source.direction, source.ports, self._population, sets)
        receivers = granting.receivers(policy) if source.direction is PolicyDirection.EGRESS else ()
        return _Made(made, fitting.measured(source.name, made), sets, frozenset(receivers))

    def _addresses(self, name: str, wanted: granting.AddressSet) -> frozenset[bytes]:
        before = self._sets.get(name)
        return wanted.addresses(self._population) if before is None or wanted.choice in self._stale_choices else before


def _kind(kind: type[watched.AnyObject]) -> policies.PolicyKind:
    return policies.PolicyKind.MULTI if kind is objects.MultiPolicyObject else policies.PolicyKind.NETWORK


def _named(key: pods.Key, multi: bool) -> Named:
    return (policies.PolicyKind.MULTI if multi else policies.PolicyKind.NETWORK).value, "/".join(key)
