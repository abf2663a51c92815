"""Network policies that the node's policy file has as defaults or demands, in the course of a call."""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from sriov.cluster import policies
from sriov.state import ledger
from sriov_cni.context import policy
from sriov_cni.dataplane.policies import policy_enforcer
from tests.fakes import bench, policy_source
from tests.sriov_cni import harness

POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME="
TABLE = policies.PolicyTable(
    grants={"none": policies.Grant("x/none")},
    rules={("x", "a", ""): policies.Rules(("none",), ("none",)), ("x", "free", ""): policies.Rules()},
    kinds=frozenset(policies.PolicyKind),
)
KUBERNETES = {"defaults": {"policy": "kubernetes"}}
DEMANDED = {**KUBERNETES, "rules": [{"policy": ["kubernetes"]}]}
RAW = {"defaults": {"policy": "kubernetes", "policyRaw": True}}
RAW_DEMANDED = {**RAW, "rules": [{"policyRaw": [True]}]}


class Node:
    """A node whose policy file has this document, with a daemon; `knows`: policies come to it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.made = bench.make(folder)
        self._folder = folder

    @contextlib.contextmanager
    def serving(self, document: object, *, knows: bool = True) -> Iterator[harness.Client]:
        (self._folder / "policy.json").write_text(json.dumps(document))
        further: dict[str, Any] = {"guard": policy.Guard(self._folder / "policy.json")}
        if knows:
            enforcer = policy_enforcer.Enforcer(self.made.node.kernel)
            further |= {"policies": policy_source.TableSource(TABLE), "enforcement": enforcer}
        socket = self._folder / "cni.sock"
        with harness.daemon(self.made.node, self.made.book, socket, self.made.machine.adopt, **further):
            yield harness.Client(socket, "/", self.made.machine.path("pod"))

    def for_userspace(self) -> None:
        vf = self.made.vfs[0]
        self.made.machine.node.set_driver(vf, "vfio-pci")
        self.made.machine.node.set_netdev(vf)

    def network(self, **keys: object) -> dict[str, object]:
        return harness.configuration(self.made.vfs[0], **keys)

    def held(self) -> ledger.PolicyHold | None:
        """What the pod is held to; its VF is attached."""
        [record] = self.made.book.records()
        assert record.policy is None or record.policy.index > 0
        return record.policy


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.made.pod.close()
    made.made.machine.close()


@pytest.mark.parametrize(
    ("defaults", "keys", "held"),
    [
        ({"policy": "kubernetes"}, {}, ("", False, "refuse")),
        ({"policy": "multi", "policyUnknown": "deny", "policyRaw": True}, {}, ("n1", True, "deny")),
        ({"policy": "kubernetes", "policyRaw": True}, {"policyRaw": False}, ("", False, "refuse")),
        ({"policy": "kubernetes"}, {"policy": "multi"}, ("n1", False, "refuse")),
        ({"policyUnknown": "allow", "policyRaw": True}, {"policy": "kubernetes"}, ("", True, "allow")),
        ({"policyUnknown": "allow"}, {"policy": "kubernetes", "policyUnknown": "deny"}, ("", False, "deny")),
        ({"policyUnknown": "allow", "policyRaw": True}, {}, None),
        ({"policy": "kubernetes"}, {"policy": "off"}, None),
    ],
)
def test_a_default_counts_for_a_network_that_does_not_name_the_key(
    node: Node, defaults: object, keys: dict[str, object], held: tuple[str, bool, str] | None
) -> None:
    with node.serving({"defaults": defaults}) as client:
        answer = client.call("ADD", node.network(**keys), ARGS=POD + "a")
        assert answer.code == 0, answer
        hold = node.held()
        assert (hold and (hold.network, hold.raw, hold.unknown)) == held
        assert client.call("DEL", node.network(**keys), ARGS=POD + "a").code == 0


@pytest.mark.parametrize(
    ("rule", "keys", "refusal"),
    [
        ({"policy": ["kubernetes"]}, {"policy": "off"}, 'refuses policy "off": it allows kubernetes'),
        ({"policy": ["kubernetes"]}, {}, 'refuses policy "off": it allows kubernetes'),
        ({"policy": ["kubernetes", "off"]}, {"policy": "multi"}, 'refuses policy "multi": it allows kubernetes, off'),
        ({"policy": ["off"]}, {"policy": "kubernetes"}, 'refuses policy "kubernetes": it allows off'),
        (
            {"policyUnknown": ["refuse", "deny"]},
            {"policy": "kubernetes", "policyUnknown": "allow"},
            'refuses policyUnknown "allow": it allows refuse, deny',
        ),
        ({"policyRaw": [True]}, {"policy": "kubernetes"}, "refuses a policy without policyRaw"),
        ({"policyRaw": [False]}, {"policy": "kubernetes", "policyRaw": True}, "refuses policyRaw"),
        ({"policyRaw": [True], "policyUnknown": ["deny"]}, {}, ""),
        ({"policy": ["kubernetes"], "policyRaw": [True]}, {"policy": "kubernetes", "policyRaw": True}, ""),
    ],
)
def test_a_rule_forbids_or_demands(node: Node, rule: object, keys: dict[str, object], refusal: str) -> None:
    with node.serving({"rules": [rule]}) as client:
        answer = client.call("ADD", node.network(**keys), ARGS=POD + "a")
        assert answer.code == (7 if refusal else 0), answer
        if refusal:
            assert refusal in answer.message
            assert answer.message.startswith(f"the node's policy {node._folder / 'policy.json'} refuses")
        assert len([*node.made.book.records()]) == (not refusal)


def test_a_default_that_is_demanded_holds_and_nobody_opts_out(node: Node) -> None:
    with node.serving(DEMANDED) as client:
        refused = client.call("ADD", node.network(policy="off"), ARGS=POD + "a")
        assert (refused.code, 'refuses policy "off": it allows kubernetes' in refused.message) == (7, True), refused
        assert client.call("ADD", node.network(), ARGS=POD + "a").code == 0
        assert node.held() is not None


def test_a_default_that_a_userspace_vf_cannot_have_is_left_out_aloud(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.for_userspace()
    with node.serving(KUBERNETES) as client:
        assert client.call("ADD", node.network(), ARGS=POD + "a").code == 0
    [line] = [each.getMessage() for each in caplog.records if "left out" in each.getMessage()]
    assert 'the node\'s default, policy "kubernetes", is left out, so that no network policy holds' in line
    assert f"the kernel sees no packet of VF {node.made.vfs[0]}, which has the userspace driver vfio-pci" in line


@pytest.mark.parametrize("pod", ["a", "free"])
@pytest.mark.parametrize("keys", [{}, {"policy": "kubernetes"}])
def test_where_policies_are_demanded_a_userspace_vf_is_refused(node: Node, pod: str, keys: dict[str, object]) -> None:
    """Also into a pod that no policy selects: one may later, and nobody would hold the pod to it."""
    node.for_userspace()
    with node.serving(DEMANDED) as client:
        answer = client.call("ADD", node.network(**keys), ARGS=POD + pod)
    assert answer.code == 7, answer
    assert "the node's policy demands network policies, and the kernel sees no packet of VF" in answer.message
    assert [*node.made.book.records()] == []


@pytest.mark.parametrize(
    ("knows", "env", "why"),
    [
        (False, {"ARGS": POD + "a"}, "the daemon of this node does not know the cluster's policies"),
        (True, {}, "needs the pod's name, and CNI_ARGS has no K8S_POD_NAMESPACE"),
    ],
)
def test_a_default_that_this_node_or_pod_cannot_have(
    node: Node, knows: bool, env: dict[str, str], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out, and what is demanded refuses the pod, each for the same reason."""
    with node.serving(KUBERNETES, knows=knows) as client:
        answer = client.call("ADD", node.network(), **env)
        assert (answer.code, node.held()) == (0, None), answer
        assert client.call("DEL", node.network(), **env).code == 0
    assert any("is left out" in each.getMessage() and why in each.getMessage() for each in caplog.records)
    with node.serving(DEMANDED, knows=knows) as client:
        refused = client.call("ADD", node.network(), **env)
        assert (refused.code in (4, 7), why in refused.message) == (True, True), refused


def test_a_name_that_rules_cannot_have_takes_no_default_off(node: Node) -> None:
    """A pod's annotation or a claim chooses it."""
    with node.serving(KUBERNETES) as client:
        refused = client.call("ADD", node.network(), ARGS=POD + "a", IFNAME="net1+")
        assert (refused.code, "CNI_IFNAME 'net1+' must hold only letters" in refused.message) == (4, True), refused
        assert client.call("ADD", node.network(policy="off"), ARGS=POD + "a", IFNAME="net1+").code == 0
        assert client.call("DEL", node.network(), ARGS=POD + "a", IFNAME="net1+").code == 0


def test_a_default_for_packet_sockets_that_an_ipam_plugin_cannot_have(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    dhcp = node.network(ipam={"type": "dhcp"})
    with node.serving(RAW) as client:
        assert "policyRaw" not in client.call("ADD", dhcp, ARGS=POD + "a").message, "no plugin is there to be run"
    assert any("policyRaw, is left out" in each.getMessage() for each in caplog.records)
    with node.serving(RAW_DEMANDED) as client:
        refused = client.call("ADD", dhcp, ARGS=POD + "a")
        assert (refused.code, "policyRaw would drop" in refused.message) == (7, True), refused


def test_a_pod_that_is_not_known_is_refused_by_a_default_too(node: Node) -> None:
    with node.serving(KUBERNETES) as client:
        answer = client.call("ADD", node.network(), ARGS=POD + "other")
        assert (answer.code, "are not known on this node" in answer.message) == (11, True), answer
