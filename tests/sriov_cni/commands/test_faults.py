"""F1 from end to end: whatever request the kernel refuses during an ADD, the node is as before and DEL succeeds."""

import errno

import pytest

from sriov import settings
from tests.fakes import bench
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode

KEYS = {"vlan": 100, "vlanQoS": 3, "mac": bench.MAC, "trust": "on", "mtu": 1400, "ipam": {"type": "fixed"}}
WANTED = settings.VfSettings(mac=bench.MAC, vlan=100, qos=3, trust=True)


@pytest.mark.parametrize("plugin", ["fixed", "static"])
def test_f1_each_request_of_an_add_failing_in_turn(cni: CniNode, plugin: str) -> None:
    """With an IPAM plugin that runs when the VF is in the pod, and with one that has run by then."""
    network = cni.conf(**KEYS | {"ipam": {"type": plugin}})
    before = cni.bench.machine.snapshot()
    for k in range(1, _requests_of_an_add(cni, network) + 1):
        asked = len(harness.ipam_calls(cni.plugins, plugin))
        cni.bench.machine.fail_at(k, errno.EIO)
        answer = cni.client.call("ADD", network)
        cni.bench.machine.fail_at(0)
        made = harness.ipam_calls(cni.plugins, plugin)[asked:]
        if answer.code == 0:
            assert k == 2, "each setting was asked for alone"
            assert cni.bench.vf_state() == WANTED
        else:
            assert (answer.code, "Input/output error" in answer.message) == (100, True), (k, answer)
            assert cni.bench.machine.snapshot() == before, k
            assert list(cni.bench.book.records()) == []
            assert made == ["ADD", "DEL"] or (made == [] and plugin == "fixed"), k
        assert cni.client.call("DEL", network).code == 0
        assert cni.bench.machine.snapshot() == before, k


def test_a_passing_refusal_is_try_again_later(cni: CniNode) -> None:
    _requests_of_an_add(cni, cni.conf(**KEYS))
    cni.bench.machine.fail_at(3, errno.EBUSY)
    assert cni.client.call("ADD", cni.conf(**KEYS)).code == 11


def _requests_of_an_add(cni: CniNode, network: dict[str, object]) -> int:
    """Counted on a second ADD, when the driver's lacks are known, so that every ADD here makes as many."""
    for _ in range(2):
        cni.bench.machine.fail_at(0)
        assert cni.client.call("ADD", network).code == 0
        made = len(cni.bench.machine.requests)
        assert cni.client.call("DEL", network).code == 0
    assert made == 8  # those of the attachment, an address, a route
    return made
