"""Defaults of the node for host links, and what its policy forbids and demands, on real interfaces (root)."""

import json
import pathlib
from typing import Any

import pytest

from sriov.linux import netns, nftables
from sriov.state import ledger
from tests.kernel import linked

pytestmark = pytest.mark.root
VIA = "198.51.100.0/24"


def add(tmp_path: pathlib.Path, policy: object, **keys: Any) -> tuple[int, str, dict[str, set[str]]]:
    """One ADD: its code, its message, and the pod's interfaces with the destinations of their routes."""
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy))
    with linked.opened(tmp_path, "--policy", str(path)) as place:
        wanted = {**linked.network(families=(linked.V4,)), **keys}
        answer = place.client.call("ADD", {key: value for key, value in wanted.items() if value is not None})
        links = {each["ifname"] for each in linked.shown(place.pod.name, "link")} - {"lo"}
        routes = linked.shown(place.pod.name, "-4", "route")
        found = {link: {each["dst"] for each in routes if each["dev"] == link} for link in links}
        if answer.code == 0:
            checked = place.client.call("CHECK", {**wanted, "prevResult": answer.document})
            assert checked.code == 0, checked
            listed = {each["name"] for each in answer.document["interfaces"] if each.get("sandbox")}
            assert listed == links
        assert place.client.call("DEL", wanted).code == 0
        assert not [each for each in linked.left_on(place.node.name) if "svl" in each]
        return answer.code, answer.message if answer.code else "", found


LINK = {"defaults": {"hostLink": True, "viaHost": [VIA]}}


@pytest.mark.parametrize(
    ("policy", "keys", "links"),
    [
        (LINK, {}, {"net1", "host0"}),
        ({"defaults": {"hostLink": "node"}}, {}, {"net1", "node"}),
        (LINK, {"hostLink": False}, {"net1"}),
        (LINK, {"hostLink": "mine"}, {"net1", "mine"}),
        (LINK, {"ipam": None}, {"net1"}),
        ({"defaults": {"hostLink": "net1"}}, {}, {"net1"}),
        ({"defaults": {"services": "host", "viaHost": ["10.96.0.0/12"]}}, {}, {"net1", "host0"}),
        ({"defaults": {"services": "host"}}, {}, {"net1", "host0"}),
        ({"defaults": {"services": "auto"}}, {}, {"net1"}),
    ],
)
def test_a_default_counts_for_a_network_that_does_not_name_it_and_fails_no_pod(
    tmp_path: pathlib.Path, policy: object, keys: dict[str, Any], links: set[str]
) -> None:
    code, message, found = add(tmp_path, policy, **keys)
    assert (code, {*found}) == (0, links), message


def test_of_a_default_the_networks_are_left_out_that_the_pod_reaches_by_its_vf(tmp_path: pathlib.Path) -> None:
    policy = {"defaults": {"hostLink": True, "viaHost": [VIA, "10.0.0.0/8", "2001:db8::/32"]}}
    code, message, found = add(tmp_path, policy)
    assert (code, found["host0"]) == (0, {VIA, linked.V4.node}), message


@pytest.mark.parametrize(
    ("rule", "keys", "refusal"),
    [
        ({"hostLink": [False]}, {"hostLink": True}, "refuses hostLink"),
        ({"hostLink": [True]}, {}, "refuses a network without hostLink"),
        ({"hostLink": [True]}, {"hostLink": True}, ""),
        ({"viaHost": [VIA]}, {"hostLink": True, "viaHost": [VIA]}, ""),
        ({"viaHost": [VIA]}, {"hostLink": True, "viaHost": ["0.0.0.0/0"]}, "refuses viaHost 0.0.0.0/0"),
    ],
)
def test_a_rule_forbids_or_demands_a_host_link(
    tmp_path: pathlib.Path, rule: object, keys: dict[str, Any], refusal: str
) -> None:
    code, message, found = add(tmp_path, {"rules": [rule]}, **keys)
    assert code == (7 if refusal else 0), message
    assert refusal in message
    assert bool(found) == (code == 0)


def test_a_default_that_is_demanded_as_well_is_had_or_the_pod_is_refused(tmp_path: pathlib.Path) -> None:
    policy = {"defaults": {"hostLink": "net1"}, "rules": [{"hostLink": [True]}]}
    code, message, found = add(tmp_path, policy)
    assert (code, found) == (7, {})
    assert "'net1' is the name of the VF's own interface" in message


@pytest.mark.parametrize(
    ("keys", "udp"),
    [
        ({}, True),
        ({"hostLink": "mine"}, True),
        ({"hostLinkUdp": False}, False),
        ({"hostLink": True, "hostLinkUdp": False}, False),
    ],
)
def test_answers_to_udp_go_by_the_host_unless_the_network_names_another(
    tmp_path: pathlib.Path, keys: dict[str, Any], udp: bool
) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"defaults": {"hostLink": true, "hostLinkUdp": true}}')
    with linked.opened(tmp_path, "--policy", str(path)) as place:
        answer = place.client.call("ADD", linked.network(families=(linked.V4,), **keys))
        assert answer.code == 0, answer
        [record] = ledger.Ledger(tmp_path / "run").records()
        assert record.host_link is not None
        assert record.host_link.udp == udp
        with netns.entered(place.pod.handle):
            assert nftables.comment("sriov-underlay") == ("answers to TCP and UDP" if udp else "answers to TCP")
