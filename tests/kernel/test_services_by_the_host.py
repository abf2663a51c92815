"""`services: "host"`: ClusterIPs go by the host link, and rules like kube-proxy's on the node do the rest."""

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from sriov.cluster import services
from sriov_cni.dataplane import table_store
from tests.kernel import linked

pytestmark = pytest.mark.root
RANGES = ("10.96.0.0/12", "fd00:96::/112")
CLUSTER_IPS = {linked.V4: "10.96.0.10", linked.V6: "fd00:96::a"}


def by_hand(place: linked.Place, **keys: Any) -> Any:
    return place.add(services="host", viaHost=list(RANGES), **keys)


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[linked.Place]:
    """Its daemon has no agent."""
    with linked.opened(tmp_path) as made:
        yield made


@linked.BOTH
def test_a_service_is_reached_by_the_nodes_rules(place: linked.Place, of: linked.Addresses) -> None:
    """The backend is beyond the node and sees the node: its answer to the pod would take another way."""
    document = by_hand(place)
    assert [each["name"] for each in document["interfaces"][::2]] == ["net1", "host0"]
    service = (CLUSTER_IPS[of], 80)
    place.redirect(service, (of.far, 8080))
    assert linked.seen(place.world.handle, of.far, place.pod.handle, to=service) == of.node
    assert linked.seen(place.world.handle, of.elsewhere, place.pod.handle) == of.pod, "all else goes by the VF"
    assert linked.conntrack(place.pod.handle) == 0


@linked.BOTH
def test_a_service_of_the_node_itself_sees_the_pod(place: linked.Place, of: linked.Addresses) -> None:
    """As `kubernetes.default` does on a control plane's node."""
    by_hand(place)
    service = (CLUSTER_IPS[of], 443)
    place.redirect(service, (of.node, 8080))
    assert linked.seen(place.home, of.node, place.pod.handle, to=service) == of.pod


@linked.BOTH
def test_a_pod_that_is_its_own_backend(place: linked.Place, of: linked.Addresses) -> None:
    by_hand(place)
    service = (CLUSTER_IPS[of], 80)
    place.redirect(service, (of.pod, 8080))
    assert linked.seen(place.pod.handle, of.pod, place.pod.handle, to=service) == of.node


@linked.BOTH
def test_a_datagram_to_a_service_is_answered(place: linked.Place, of: linked.Addresses) -> None:
    """As a DNS server's, by its ClusterIP."""
    by_hand(place)
    place.redirect((CLUSTER_IPS[of], 53), (of.far, 5300), "udp")
    assert linked.answered(place.world.handle, of.far, place.pod.handle, (CLUSTER_IPS[of], 53), 5300) == of.node


def test_without_it_no_service_is_reached(place: linked.Place) -> None:
    place.add(hostLink=True)
    service = (CLUSTER_IPS[linked.V4], 80)
    place.redirect(service, (linked.V4.far, 8080))
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
        linked.seen(place.world.handle, linked.V4.far, place.pod.handle, to=service, patience=linked.QUIET)


def test_ranges_that_nobody_knows_are_refused(place: linked.Place) -> None:
    answer = place.client.call("ADD", linked.network(services="host"))
    assert answer.code == 7, answer
    assert 'services "host": this node does not know the networks' in answer.message
    assert '"viaHost": ["10.96.0.0/12"]' in answer.message
    assert "--cluster-socket" in answer.message


@pytest.mark.parametrize("mode", ["host", "auto"])
@linked.BOTH
def test_the_ranges_are_those_of_the_agent(tmp_path: pathlib.Path, of: linked.Addresses, mode: str) -> None:
    """Auto, since the daemon has no programs of its own."""
    snapshot = tmp_path / "services"
    table_store.Snapshot(snapshot).write(services.TableChange(whole=True, ranges=RANGES))
    options = ("--cluster-socket", str(tmp_path / "agent.sock"), "--cluster-snapshot", str(snapshot))
    with linked.opened(tmp_path, *options) as place:
        place.add(services=mode, hostLink="up")
        service = (CLUSTER_IPS[of], 80)
        place.redirect(service, (of.far, 8080))
        assert linked.seen(place.world.handle, of.far, place.pod.handle, to=service) == of.node
        routed = {each["dst"] for each in linked.shown(place.pod.name, "route", "show", "dev", "up")}
        assert RANGES[0] in routed


def test_ranges_that_the_agent_has_not_sent_are_waited_for(tmp_path: pathlib.Path) -> None:
    options = ("--cluster-socket", str(tmp_path / "agent.sock"), "--cluster-snapshot", str(tmp_path / "none"))
    with linked.opened(tmp_path, *options) as place:
        answer = place.client.call("ADD", linked.network(services="host"))
        assert answer.code == 11, answer
        assert "sriov-agent has not sent them" in answer.message
        place.add(services="host", viaHost=[RANGES[0]])


def test_auto_fails_no_pod_where_no_ranges_are_known(place: linked.Place) -> None:
    place.add(services="auto", hostLink="up")
    routed = {each["dst"] for each in linked.shown(place.pod.name, "route", "show", "dev", "up")}
    assert not routed & set(RANGES)
