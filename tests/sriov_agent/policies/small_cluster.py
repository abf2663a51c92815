"""A cluster of three namespaces with three pods each, as policy-assistant's and upstream's truth tables have it.

(kubernetes-sigs/network-policy-api, cmd/policy-assistant; kubernetes/test/e2e/network/netpol.)
"""

import functools
import itertools
from typing import Any

import msgspec

from sriov.cluster import policies as compiled
from sriov_agent.policies import objects, view
from tests.sriov_agent.policies import oracle
from tests.sriov_agent.policies.oracle import Json

NODE = "here"
Port = tuple[str, int]
"""Protocol and number, of the receiver."""
NAMES, LETTERS = ("x", "y", "z"), ("a", "b", "c")
PROTOCOLS, PORTS = ("TCP", "UDP", "SCTP"), (80, 81)
STRANGERS = ("192.0.2.1", "192.0.2.200", "2001:db8::1")
NAMESPACES = [{"metadata": {"name": name, "labels": {"ns": name}}} for name in NAMES]


def pod(namespace: str, letter: str, **more: Any) -> Json:
    """Every second pod calls its ports the other way round."""
    place = NAMES.index(namespace) * 3 + LETTERS.index(letter) + 1
    swapped = place % 2 == 0
    ports = [
        {"name": _name(port, protocol, swapped), "protocol": protocol, "containerPort": port}
        for port, protocol in itertools.product(PORTS, PROTOCOLS)
    ]
    addresses = [{"ip": f"10.0.{NAMES.index(namespace)}.{place}"}, {"ip": f"fd00::{place}"}]
    return {
        "metadata": {"name": letter, "namespace": namespace, "uid": f"{namespace}{letter}", "labels": {"pod": letter}},
        "spec": {"nodeName": NODE, "containers": [{"ports": ports}]},
        "status": {"phase": "Running", "podIPs": addresses},
        **more,
    }


def _name(port: int, protocol: str, swapped: bool) -> str:
    return f"serve-{161 - port if swapped else port}-{protocol.lower()}"


PODS = [pod(namespace, letter) for namespace, letter in itertools.product(NAMES, LETTERS)]


def policy(namespace: str = "x", name: str = "policy", **spec: Any) -> Json:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": {}, **spec}}


def compile_all(policies: list[Json], pods: list[Json] = PODS) -> tuple[view.PolicyView, list[str]]:
    """The view of this cluster, and what it complained of."""
    complaints: list[str] = []
    made = view.PolicyView(NODE, complaints.append)
    for each in policies:
        made.put_policy(msgspec.convert(each, objects.PolicyObject))
    for each in pods:
        made.put_pod(msgspec.convert(each, objects.PodObject))
    for each in NAMESPACES:
        made.put_namespace(msgspec.convert(each, objects.NamespaceObject))
    made.change()
    return made, complaints


def passes(made: view.PolicyView, direction: str, pod_: Json, other: Json | str, port: Port) -> set[bool]:
    """What the compiled rules say, for each of the peer's addresses."""
    return {_passes(made, direction, pod_, address, port) for address in oracle.addresses(other)}


def _passes(made: view.PolicyView, direction: str, pod_: Json, address: str, port: Port) -> bool:
    return _is_passed(made, _grants(made, direction, pod_), address, port)


def _grants(made: view.PolicyView, direction: str, pod_: Json) -> list[compiled.Grant] | None:
    """None if everything passes."""
    place = (pod_["metadata"]["namespace"], pod_["metadata"]["name"], "")
    names = made.rules[place].of(compiled.PolicyDirection(direction.lower()))
    return None if names is None else [made.grants[name] for name in names]


def _is_passed(made: view.PolicyView, grants: list[compiled.Grant] | None, address: str, port: Port) -> bool:
    return grants is None or bool(compiled.passing(grants, made.sets, packet(address, port)))


@functools.cache
def packet(address: str, port: Port) -> compiled.Packet:
    return compiled.Packet(compiled.packed(address), compiled.Transport(port[0]), port[1])


def differences(made: view.PolicyView, policies: list[Json], pods: list[Json] = PODS) -> list[str]:
    """Every pod with every pod and stranger, both directions, all protocols and ports: where both do not agree."""
    world, found = oracle.World(NAMESPACES, pods, policies), []
    peers: list[Json | str] = [*pods, *STRANGERS]
    others = [(_at(other, address), other, address) for other in peers for address in oracle.addresses(other)]
    for one, direction in itertools.product(pods, ("Ingress", "Egress")):
        grants = _grants(made, direction, one)
        for (peer, other, address), port in itertools.product(others, list(itertools.product(PROTOCOLS, PORTS))):
            said = _is_passed(made, grants, address, port)
            if said != world.passes(direction, one, peer, *port):
                found.append(f"{direction} of {name(one)} with {name(other)} at {address}, {port}: {said}")
    return found


def _at(other: Json | str, address: str) -> Json | str:
    """The same peer with this address alone: an ipBlock may have one of a pod's and not the other."""
    return other if isinstance(other, str) else {**other, "status": {"podIPs": [{"ip": address}]}}


def name(pod_: Json | str) -> str:
    return pod_ if isinstance(pod_, str) else "/".join(pod_["metadata"][key] for key in ("namespace", "name"))
