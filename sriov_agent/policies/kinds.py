"""Kinds of objects that rules are made of, as the API server has them."""

from sriov.apiserver import connection
from sriov_agent.policies import objects

POD = connection.WatchedKind("Pod", objects.PodObject, "pods")
_ALWAYS = (
    POD,
    connection.WatchedKind("Namespace", objects.NamespaceObject, "namespaces", is_namespaced=False),
    connection.WatchedKind("NetworkPolicy", objects.PolicyObject, "networkpolicies", "networking.k8s.io"),
)
_MULTI = connection.WatchedKind(
    "MultiNetworkPolicy",
    objects.MultiPolicyObject,
    "multi-networkpolicies",
    "k8s.cni.cncf.io",
    "v1beta1",
    optional=True,
)


def kinds(*, multi: bool) -> tuple[connection.WatchedKind, ...]:
    """Return what is watched, all of it cluster-wide: a policy may mean pods of any node."""
    return (*_ALWAYS, _MULTI) if multi else _ALWAYS
