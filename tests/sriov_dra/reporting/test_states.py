"""States of a claim's devices, from the grant, the ledger and what the CNI has noted."""

import json

import msgspec
import pytest

from sriov.state import attached_vfs, grants
from sriov_dra.reporting import states
from tests.sriov_dra import status_rules
from tests.sriov_dra.claims import claims
from tests.sriov_dra.hook_cases import VF

DEVICE = grants.GrantedDevice(VF, "vf", claims.POOL, "0000-01-10-0")
GRANT = grants.ClaimGrant(uid="u", namespace="ml", name="rails", devices=(DEVICE,))
ATTACHED = attached_vfs.AttachedVf(pci=VF, claim="u", container_id="c1", ifname="net1", mac="02:00:00:00:00:01")
THERE = states.SeenVf(ATTACHED)
KEY = (claims.POOL, "0000-01-10-0", "")


def wanted(known: states.Known, seen: states.SeenVf | None, now: str = "T1") -> states.Known:
    return states.wanted(claims.DRIVER, GRANT, known, lambda _: seen, now)


def test_a_device_is_ready_when_its_pod_has_it_and_says_afterwards_that_it_is_not() -> None:
    assert wanted({}, None) == {}
    there = wanted({}, THERE)
    assert json.loads(msgspec.json.encode(there[KEY])) == {
        "driver": "sriov-underlay",
        "pool": claims.POOL,
        "device": "0000-01-10-0",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Attached",
                "message": "VF 0000:01:10.0 is in the pod as net1",
                "lastTransitionTime": "T1",
            }
        ],
        "networkData": {"interfaceName": "net1", "hardwareAddress": "02:00:00:00:00:01"},
    }
    assert wanted(there, THERE, "T2") == there, "nothing to write"
    home = wanted(there, None, now="T2")
    [condition] = home[KEY].conditions
    assert (condition.status, condition.reason, condition.last_transition_time) == ("False", "Detached", "T2")
    assert home[KEY].network_data is None
    assert wanted(home, None, now="T3") == home


def test_a_vf_that_could_not_be_taken_back_says_why() -> None:
    stuck = wanted(wanted({}, THERE), states.SeenVf(ATTACHED, "the PF is gone"), "T2")
    [condition] = stuck[KEY].conditions
    assert (condition.status, condition.reason) == ("False", "NotHome")
    assert condition.message == "the VF could not be taken back: the PF is gone"
    assert wanted(stuck, None, now="T3")[KEY].conditions[0].last_transition_time == "T2", "its status is the same"


@pytest.mark.parametrize("count", [1, 40])
def test_addresses_are_as_the_api_takes_them(count: int) -> None:
    """In the form that it wants, each once, and no more than 16."""
    given = [f"2001:0DB8:0::{number:x}/64" for number in range(count)]
    there = wanted({}, states.SeenVf(msgspec.structs.replace(ATTACHED, addresses=(*given, *given, "10.0.0.1/24"))))
    [state] = there.values()
    assert state.network_data is not None
    assert state.network_data.ips[0] == "2001:db8::/64"
    assert len(state.network_data.ips) == min(count + 1, 16)
    dated = msgspec.to_builtins(state)
    dated["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    old = claims.claim(claims.result())["status"]
    assert status_rules.refusals({**old, "devices": [dated]}, old, claims.DRIVER) == []
