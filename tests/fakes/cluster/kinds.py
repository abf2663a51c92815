"""Kinds of object in the stand-in cluster, and their validation, with the schemas of `kubernetes-validate`.

The schemas replace the API server's strict field validation. What no schema can express (a selector that does not match
its template, a port used twice) is not checked.
"""

import dataclasses
from typing import Any

Object = dict[str, Any]

VERSION = "1.37"


class RefusedError(Exception):
    """A request is refused with this HTTP `code` and this reason, as the API server names it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """`api` is `v1` or GROUP/VERSION."""

    api: str
    plural: str
    name: str
    namespaced: bool = True

    def check(self, found: Object) -> None:
        """Check the object. Raises RefusedError. A custom resource has no schema here."""
        if (found.get("apiVersion"), found.get("kind")) != (self.api, self.name):
            raise RefusedError(400, "BadRequest", f"{found.get('kind')} is sent where {self.name} is asked for")
        if self is NETWORK:
            return
        if (told := violation(found, VERSION)) is not None:
            raise RefusedError(422, "Invalid", f"{self.name}: {told}")


def violation(found: Object, version: str) -> str | None:
    """Return what this version's schema says against the object; None for nothing."""
    import kubernetes_validate  # its import makes a parser, and takes two seconds of every session

    try:
        kubernetes_validate.validate(found, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return None


DAEMONSET = Kind("apps/v1", "daemonsets", "DaemonSet")
NAMESPACE = Kind("v1", "namespaces", "Namespace", namespaced=False)
NETWORK = Kind("k8s.cni.cncf.io/v1", "network-attachment-definitions", "NetworkAttachmentDefinition")
"""Multus' own."""
NODE = Kind("v1", "nodes", "Node", namespaced=False)
POD = Kind("v1", "pods", "Pod")
CLAIM = Kind("resource.k8s.io/v1", "resourceclaims", "ResourceClaim")
JOB = Kind("batch/v1", "jobs", "Job")
_RBAC = "rbac.authorization.k8s.io/v1"
CONFIGMAP = Kind("v1", "configmaps", "ConfigMap")
ALL = (
    *(CLAIM, CONFIGMAP, DAEMONSET, NAMESPACE, NETWORK, NODE, POD),
    Kind("v1", "secrets", "Secret"),
    Kind("v1", "serviceaccounts", "ServiceAccount"),
    JOB,
    *(Kind(_RBAC, each, name) for each, name in (("roles", "Role"), ("rolebindings", "RoleBinding"))),
    Kind(_RBAC, "clusterroles", "ClusterRole", namespaced=False),
    Kind(_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
)
APIS = tuple(dict.fromkeys(each.api for each in ALL))


def of(api: str, plural: str) -> Kind:
    for each in ALL:
        if (each.api, each.plural) == (api, plural):
            return each
    raise RefusedError(404, "NotFound", "the server could not find the requested resource")


def selected(found: Object, labels: str, fields: str) -> bool:
    """Report whether URL selectors of equality select the object; fields: name, node, phase. Raises RefusedError."""
    has = {
        "metadata.name": found["metadata"]["name"],
        "spec.nodeName": found.get("spec", {}).get("nodeName"),
        "status.phase": found.get("status", {}).get("phase", "Pending"),
    }
    asked = dict(each.split("=", 1) for each in fields.split(",") if each)
    if not asked.keys() <= has.keys():
        raise RefusedError(400, "BadRequest", f"nothing is selected by {fields} here")
    labelled = found["metadata"].get("labels", {})
    pairs = [each.split("=", 1) for each in labels.split(",") if each]
    return all(has[key] == value for key, value in asked.items()) and all(
        labelled.get(key) == value for key, value in pairs
    )
