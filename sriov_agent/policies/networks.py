"""Networks of a pod besides the cluster's, from Multus' annotations. Pure.

The formats are those of the Network Plumbing Working Group's multi-network specification 1.3, sections 4.1 and 5.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from sriov.cluster import policies
from sriov_agent.policies import objects


class AttachedNetwork(msgspec.Struct, frozen=True, gc=False):
    """One element of network-status. `default` is the cluster's own network."""

    name: str = ""
    ips: tuple[str, ...] | None = ()
    default: bool = False


class AskedNetwork(msgspec.Struct, frozen=True, gc=False):
    name: str
    namespace: str = ""


_MOST = 16  # addresses of a pod in one network: who may write the annotation could name any number
_STATUS = msgspec.json.Decoder(tuple[AttachedNetwork, ...])
_ASKED = msgspec.json.Decoder(tuple[AskedNetwork, ...])

Complain = Callable[[str], None]
_T = TypeVar("_T")


def status(pod: objects.LabelledMetadata, complain: Complain) -> dict[str, tuple[str, ...]]:
    """Return the pod's addresses by network, without the cluster's own."""
    found: dict[str, tuple[str, ...]] = {}
    for each in _decoded(_STATUS, pod.annotations.network_status, "network-status", pod, complain):
        if not each.default and each.name:
            name = qualified(each.name, pod.namespace)
            found[name] = (*found.get(name, ()), *(each.ips or ()))[:_MOST]
    return found


def asked(pod: objects.LabelledMetadata, complain: Complain) -> tuple[str, ...]:
    """Return the networks that the pod asks for, before it has them."""
    text = pod.annotations.networks.strip()
    if text.startswith("["):
        told = _decoded(_ASKED, text, "networks", pod, complain)
        return tuple(f"{each.namespace or pod.namespace}/{each.name}" for each in told)
    return listed(text, pod.namespace)


def listed(text: str, namespace: str) -> tuple[str, ...]:
    """Return the names of a list such as `blue, other/red@net1`."""
    names = (each.strip().partition("@")[0] for each in text.split(","))
    return tuple(qualified(each, namespace) for each in names if each)


def qualified(name: str, namespace: str) -> str:
    return name if "/" in name else f"{namespace}/{name}"


def alike(rules: Mapping[str, policies.Rules]) -> tuple[str, str] | None:
    """Return two networks of a pod that have one name, in two namespaces, and not the same rules; None if there are
    none."""
    first: dict[str, str] = {}
    for network in rules:
        before = first.setdefault(network.partition("/")[2], network)
        if rules[before] != rules[network]:
            return before, network
    return None


def _decoded(
    decoder: "msgspec.json.Decoder[tuple[_T, ...]]",
    text: str,
    what: str,
    pod: objects.LabelledMetadata,
    complain: Complain,
) -> tuple[_T, ...]:
    try:
        return decoder.decode(text) if text else ()
    except (msgspec.MsgspecError, RecursionError) as error:
        complain(
            f"Pod {'/'.join(pod.key)}: its annotation {what} cannot be read: {error};"
            " policies of all networks hold for it"
        )
        return ()
