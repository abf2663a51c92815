"""Metadata files of a claim (KEP-5304): what each request was given, for the programs in the container. Pure.

A file is a stream of JSON objects, the same in each API version, the newest first. Paths and objects:
kubernetes staging/src/k8s.io/dynamic-resource-allocation/api/metadata and kubeletplugin/metadata.go.
"""

import json
import pathlib
from collections.abc import Sequence

from sriov_dra.claims import claim_objects, edits, reading
from sriov_dra.publishing import attributes

_VERSIONS = ("v1beta1", "v1alpha1")
_GROUP = "metadata.resource.k8s.io"
_INSIDE = "/var/run/kubernetes.io/dra-device-attributes"
_POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
"""Annotation of a claim that was made from a template: its name in the pod."""


def folder(plugin: pathlib.Path, uid: str) -> pathlib.Path:
    """Return the folder of the claim's files on the host, below the plugin's own."""
    return plugin / "dra-device-metadata" / uid


def mount(driver: str, claim: claim_objects.ClaimMetadata, request: str, host: pathlib.Path) -> edits.Mount:
    """Return where the container sees the file of a request."""
    pod_claim = _pod_claim(claim)
    of_claim = f"resourceclaimtemplates/{pod_claim}" if pod_claim else f"resourceclaims/{claim.name}"
    return edits.Mount(str(host), f"{_INSIDE}/{of_claim}/{request}/{driver}-metadata.json")


def content(driver: str, claim: claim_objects.ClaimMetadata, devices: Sequence[edits.PreparedDevice]) -> bytes:
    """Encode the file of one request, whose devices these are."""
    named = [_device(driver, each) for each in devices]
    found: dict[str, object] = {
        "metadata": {"name": claim.name, "namespace": claim.namespace, "uid": claim.uid, "generation": 1}
    }
    if pod_claim := _pod_claim(claim):
        found["podClaimName"] = pod_claim
    found["requests"] = [{"name": devices[0].full_request, "devices": named}]
    stream = ({"kind": "DeviceMetadata", "apiVersion": f"{_GROUP}/{version}", **found} for version in _VERSIONS)
    return b"".join(json.dumps(each).encode() + b"\n" for each in stream)


def _pod_claim(claim: claim_objects.ClaimMetadata) -> str:
    """Return the claim's name in the pod, "" without a template. Whoever may change the claim may write anything."""
    name = claim.annotations.get(_POD_CLAIM, "")
    return name if reading.LABEL.fullmatch(name) else ""


def _device(driver: str, one: edits.PreparedDevice) -> dict[str, object]:
    return {
        "driver": driver,
        "pool": one.pool_name,
        "name": one.name,
        "attributes": attributes.attributes(one.device, one.pool),
    }
