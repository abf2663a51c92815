"""Kinds of objects that rules are made of, as the API server has them."""

from sriov_agent import api
from sriov_agent.policies import objects

POD = api.WatchedKind("Pod", objects.PodObject, "pods")
_ALWAYS = (
    POD,
    api.WatchedKind("Namespace", objects.NamespaceObject, "namespaces", is_namespaced=False),
    api.WatchedKind("NetworkPolicy", objects.PolicyObject, "networkpolicies", "networking.k8s.io"),
)
_MULTI = api.WatchedKind(
    "MultiNetworkPolicy",
    objects.MultiPolicyObject,
    "multi-networkpolicies",
    "k8s.cni.cncf.io",
    "v1beta1",
    optional=True,
)


def kinds(*, multi: bool) -> tuple[api.WatchedKind, ...]:
    """Return what is watched, all of it cluster-wide: a policy may mean pods of any node."""
    return (*_ALWAYS, _MULTI) if multi else _ALWAYS
