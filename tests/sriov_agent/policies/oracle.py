"""What Kubernetes says of one packet, worked out from the policies' JSON for this packet alone.

It shares nothing with the compiler: no index, no addresses, no order. The rules are those of the API's comments
(networking.k8s.io/v1 types.go), read once more.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


class World:
    """Objects of a cluster. A pod is its JSON; any other host is an address."""

    def __init__(self, namespaces: Sequence[Json], pods: Sequence[Json], policies: Sequence[Json]) -> None:
        self.namespaces = {each["metadata"]["name"]: each["metadata"].get("labels", {}) for each in namespaces}
        self.pods, self.policies = pods, policies

    def passes(self, direction: str, pod: Json, other: Json | str, protocol: str, port: int) -> bool:
        """`port` is the receiver's, which is `pod` for ingress and `other` for egress."""
        chosen = [each for each in self.policies if self._selects(each, pod) and direction in _types(each["spec"])]
        if not chosen:
            return True
        receiver = pod if direction == "Ingress" else other
        for each in chosen:
            for rule in each["spec"].get(direction.lower()) or []:
                peers = rule.get("from" if direction == "Ingress" else "to")
                if self._is_peer(each, peers, other) and _is_port(rule.get("ports"), receiver, protocol, port):
                    return True
        return False

    def _selects(self, policy: Json, pod: Json) -> bool:
        same = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
        return same and selects(policy["spec"]["podSelector"], pod["metadata"].get("labels", {}))

    def _is_peer(self, policy: Json, peers: list[Json] | None, other: Json | str) -> bool:
        return not peers or any(self._matches(policy, peer, other) for peer in peers)

    def _matches(self, policy: Json, peer: Json, other: Json | str) -> bool:
        if "ipBlock" in peer:
            return any(_in(peer["ipBlock"], address) for address in addresses(other))
        if isinstance(other, str):
            return False
        where = other["metadata"]["namespace"]
        if "namespaceSelector" not in peer and where != policy["metadata"]["namespace"]:
            return False
        if "namespaceSelector" in peer and not selects(peer["namespaceSelector"], self.namespaces[where]):
            return False
        return selects(peer.get("podSelector", {}), other["metadata"].get("labels", {}))


def addresses(other: Json | str) -> list[str]:
    return [other] if isinstance(other, str) else [each["ip"] for each in other["status"]["podIPs"]]


def selects(selector: Json, labels: Mapping[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions") or []:
        key, values = each["key"], each.get("values") or []
        good = {
            "In": key in labels and labels[key] in values,
            "NotIn": not (key in labels and labels[key] in values),
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[each["operator"]]
        if not good:
            return False
    return True


def _types(spec: Json) -> list[str]:
    return spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _in(block: Json, address: str) -> bool:
    where = ipaddress.ip_address(address)

    def holds(network: str) -> bool:
        return where in ipaddress.ip_network(network)

    return holds(block["cidr"]) and not any(map(holds, block.get("except") or []))


def _is_port(ports: list[Json] | None, receiver: Json | str, protocol: str, port: int) -> bool:
    if not ports:
        return True
    for each in ports:
        if each.get("protocol", "TCP") != protocol:
            continue
        wanted: int | str | None = each.get("port")
        if wanted is None:
            return True
        if isinstance(wanted, str):
            if not isinstance(receiver, str) and (wanted, protocol, port) in _named(receiver):
                return True
        elif wanted <= port <= each.get("endPort", wanted):
            return True
    return False


def _named(pod: Json) -> list[tuple[str, str, int]]:
    return [
        (port.get("name", ""), port.get("protocol", "TCP"), port["containerPort"])
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
    ]
