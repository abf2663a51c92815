"""Pods and namespaces as policies see them, and which of them a selector takes. Pure.

A choice of pods is worked out once for all rules that ask for it, and kept up to date with every pod that changes.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from sriov.cluster import policies, policy_changes
from sriov_agent.policies import networks, objects, selectors

Key = tuple[str, str]
"""Namespace and name."""
_ENDED = ("Succeeded", "Failed")


class NamedPort(msgspec.Struct, frozen=True, order=True, gc=False):
    name: str
    transport: policies.Transport
    number: int


class PodFacts(msgspec.Struct, frozen=True):
    """`addresses` are by network, as namespace/name; "" is the cluster's own. `asked` are the networks besides.

    `uid` is the pod's as its kubelet knows it, "" for one that cannot be told. `unread`: its annotations cannot be
    read, and nobody knows which networks it has.
    """

    key: Key
    uid: str
    node: str
    labels: Mapping[str, str]
    addresses: Mapping[str, tuple[bytes, ...]]
    ports: tuple[NamedPort, ...]
    asked: tuple[str, ...] = ()
    unread: bool = False


def facts(seen: objects.PodObject, complain: Callable[[str], None]) -> PodFacts | None:
    """Return what policies depend on; None for a pod that has none: it has ended, or is the node's (hostNetwork)."""
    if seen.spec.host_network or seen.status.phase in _ENDED:
        return None
    wrong: list[str] = []
    others, asked = networks.status(seen.metadata, wrong.append), networks.asked(seen.metadata, wrong.append)
    for each in wrong:
        complain(each)
    addresses = _packed({"": [each.ip for each in seen.status.pod_ips or ()], **others}, seen, complain)
    return PodFacts(
        seen.metadata.key,
        _uid(seen.metadata),
        seen.spec.node_name,
        seen.metadata.labels,
        addresses,
        tuple(_ports(seen.spec)),
        asked,
        bool(wrong),
    )


def _uid(seen: objects.LabelledMetadata) -> str:
    """Return the UID that the kubelet tells the runtime: a static pod's is its file's, and what the API server has is a
    mirror of it with a UID of its own (kubernetes, pkg/kubelet/pod/mirror_client.go, CreateMirrorPod). Nobody can give
    that annotation to a pod that runs (pkg/apis/core/validation, ValidatePodSpecificAnnotationUpdates)."""
    told = seen.annotations.mirror or seen.uid
    return told if policy_changes.is_uid(told) else ""


def _packed(
    told: Mapping[str, Iterable[str]], seen: objects.PodObject, complain: Callable[[str], None]
) -> dict[str, tuple[bytes, ...]]:
    """Return the addresses by network. Those that are none are one complaint: annotations may have thousands."""
    wrong: list[str] = []
    found = {name: tuple(_each_packed(texts, wrong)) for name, texts in told.items()}
    if wrong:
        rest = f", and {len(wrong) - 1} others like it" if len(wrong) > 1 else ""
        complain(
            f"Pod {'/'.join(seen.metadata.key)}: {wrong[0][:80]!r} is no IP address{rest}; left out, the rest is used"
        )
    return found


def _each_packed(texts: Iterable[str], wrong: list[str]) -> Iterator[bytes]:
    for text in texts:
        try:
            yield ipaddress.ip_address(text).packed
        except ValueError:
            wrong.append(text)


def _ports(spec: objects.SpecOfPod) -> Iterator[NamedPort]:
    """Yield the named ports of what runs as long as the pod: containers, and sidecars among the init containers."""
    sidecars = (each for each in spec.init_containers or () if each.restart_policy == "Always")
    for container in (*spec.containers, *sidecars):
        for port in container.ports or ():
            if port.name and port.protocol in policies.Transport.__members__:
                yield NamedPort(port.name, policies.Transport(port.protocol), port.container_port)


class PodChoice(msgspec.Struct, frozen=True):
    """Pods that a peer or a policy means: those of a namespace, or of the namespaces that a selector takes."""

    namespaces: str | selectors.Selector
    pods: selectors.Selector


class Population:
    """All pods and namespaces. `changed` is called with each choice whose pods are others, or have changed."""

    def __init__(self, changed: Callable[[PodChoice], None]) -> None:
        self._changed = changed
        self.pods: dict[Key, PodFacts] = {}
        self._by_namespace: dict[str, dict[Key, PodFacts]] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self._chosen: dict[PodChoice, set[Key]] = {}

    def put_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Take note of the labels; None: it is gone."""
        before = self.namespaces.pop(name, None)
        if labels is not None:
            self.namespaces[name] = labels
        if before == labels:
            return
        for choice, chosen in self._chosen.items():
            if not isinstance(choice.namespaces, str):
                meant = {key for key in self._by_namespace.get(name, ()) if self._is_meant(choice, self.pods[key])}
                if {key for key in chosen if key[0] == name} != meant:
                    self._chosen[choice] = {key for key in chosen if key[0] != name} | meant
                    self._changed(choice)

    def put(self, key: Key, pod: PodFacts | None) -> None:
        """Take note of a pod; None: it is gone, or means nothing any more."""
        before = self.pods.pop(key, None)
        self._by_namespace.get(key[0], {}).pop(key, None)
        if pod is not None:
            self.pods[key] = pod
            self._by_namespace.setdefault(key[0], {})[key] = pod
        for choice, chosen in self._chosen.items():
            is_meant = pod is not None and self._is_meant(choice, pod)
            if is_meant != (key in chosen) or (is_meant and _differ(before, pod)):
                (chosen.add if is_meant else chosen.discard)(key)
                self._changed(choice)

    def chosen(self, choice: PodChoice) -> Iterable[PodFacts]:
        found = self._chosen.get(choice)
        if found is None:
            found = {pod.key for pod in self._candidates(choice) if selectors.takes(choice.pods, pod.labels)}
            self._chosen[choice] = found
        return map(self.pods.__getitem__, found)

    def keep(self, wanted: set[PodChoice]) -> None:
        """Keep only these choices up to date."""
        self._chosen = {choice: chosen for choice, chosen in self._chosen.items() if choice in wanted}

    def _candidates(self, choice: PodChoice) -> Iterator[PodFacts]:
        for name, pods in self._by_namespace.items():
            if self._takes(choice, name):
                yield from pods.values()

    def _is_meant(self, choice: PodChoice, pod: PodFacts) -> bool:
        return self._takes(choice, pod.key[0]) and selectors.takes(choice.pods, pod.labels)

    def _takes(self, choice: PodChoice, name: str) -> bool:
        """A namespace that has not been seen yet has no labels, but its name, which the API server gives it."""
        if isinstance(choice.namespaces, str):
            return choice.namespaces == name
        return selectors.takes(choice.namespaces, self.namespaces.get(name, {"kubernetes.io/metadata.name": name}))


def _differ(before: PodFacts | None, now: PodFacts | None) -> bool:
    """Report whether the difference is one that rules of others depend on."""
    if before is None or now is None:
        return True
    return (before.addresses, before.ports) != (now.addresses, now.ports)
