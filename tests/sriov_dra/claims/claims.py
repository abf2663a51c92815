"""ResourceClaims as the scheduler leaves them."""

from typing import Any

import msgspec

from sriov_dra.claims import claim_objects
from tests.sriov_agent.cluster import Json

DRIVER, NODE = "sriov-underlay", "worker-1"
POOL = "worker-1/intel.com/rail-a"


def parameters(**keys: Any) -> Json:
    """A VfNetwork."""
    return {"apiVersion": "sriov-underlay/v1", "kind": "VfNetwork", **keys}


def config(given: Any, *requests: str, of: str = "FromClaim", driver: str = DRIVER) -> Json:
    return {"source": of, "requests": list(requests), "opaque": {"driver": driver, "parameters": given}}


def result(device: str = "0000-01-10-0", request: str = "vf", **other: Any) -> Json:
    return {"request": request, "driver": DRIVER, "pool": POOL, "device": device, **other}


def claim(*results: Json, configs: Any = (), uid: str = "claim-uid", pod: str = "pod-uid", **metadata: Any) -> Json:
    """An allocated claim of the namespace ml, reserved for one pod."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "rails", "namespace": "ml", "uid": uid, **metadata},
        "spec": {"devices": {"requests": [{"name": "vf"}]}},
        "status": {
            "allocation": {"devices": {"results": list(results), "config": list(configs)}},
            "reservedFor": [{"resource": "pods", "name": "train-0", "uid": pod}],
        },
    }


def decoded(told: Json) -> claim_objects.ClaimObject:
    return msgspec.convert(told, claim_objects.ClaimObject)
