"""explain is right for failures that were brought about: it names the first link that does not hold, and a remedy."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from sriov import devices
from sriov.state import daemon_problems, grants, ledger
from sriovctl import exit_codes
from tests.sriovctl import nodes
from tests.sriovctl.commands import test_doctor

PF = devices.pci_address("0000:01:00.0")
LINK = ledger.HostLink(name="svl1", address="", inside="host0", inside_address="", nodes=(), ranges=("10.96.0.0/12",))
THERE = msgspec.structs.replace(LINK, name="svl2")
STEPS = {"step", "question", "answer", "evidence", "remedy"}


@pytest.fixture
def sick(node: nodes.Node) -> Iterator[test_doctor.Sick]:
    """A node in order, on which things then go wrong."""
    made = test_doctor.Sick(node)
    node.give("web", node.vf)
    yield made
    made.close()


def pod(node: nodes.Node, resource: str = nodes.RAIL, **more: object) -> str:
    """What kubectl prints of the pod."""
    container = {"name": "c", "resources": {"limits": {resource: "1", "cpu": "2"}}}
    spec = {"kind": "Pod", "metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": [container]}}
    (node.folder / "pod.json").write_text(json.dumps({**spec, **more}))
    return f"--pod-file={node.folder}/pod.json"


def explained(node: nodes.Node, *arguments: str) -> dict[str, str]:
    """The step that is the reason."""
    ran = node.run("explain", *arguments, "-o", "json")
    steps = ran.document["items"]
    assert all(set(each) == STEPS for each in steps)
    assert ran.status == exit_codes.Exit.TROUBLE, steps
    [reason] = [each for each in steps if each["answer"] == "no"][:1]
    assert ran.document["reason"] == reason["step"]
    text = node.run("explain", *arguments).out
    assert reason["evidence"] in text.splitlines()[-2]
    assert reason["remedy"] in text.splitlines()[-1]
    return dict(reason)


def test_a_pod_that_has_its_vf(sick: test_doctor.Sick) -> None:
    node = sick.node
    with node.serving(), node.kubelet():
        assert node.cni("ADD").code == 0
        ran = node.run("explain", "web", pod(node), "-o", "json")
        vf = node.run("explain", node.vf, "-o", "json")
        blind = node.run("explain", "default/web")
    assert (ran.status, ran.document["reason"]) == (0, None)
    answers = {each["step"]: each["answer"] for each in ran.document["items"]}
    assert answers == dict.fromkeys(
        [*("requested", "here", "pool", "devices", "healthy", "registered", "allocated", "network", "daemon", "added"),
         *("attached", "services", "link")], "yes")  # fmt: skip
    assert (vf.status, {each["answer"] for each in vf.document["items"]}) == (0, {"yes"})
    assert "default/web, by the kubelet" in vf.out
    assert blind.status == 0
    assert blind.out.endswith("\ndefault/web: nothing is wrong\n")


@pytest.mark.parametrize(
    ("recorded", "trouble", "answers"),
    [
        ({"services_mode": "socket"}, "", {"services": ("yes", "socket: the daemon's programs connect")}),
        (
            {"services_mode": "socket"}, "programs for Services are attached but do not run: connect4",
            {"services": ("no", "programs for Services are attached but do not run: connect4")},
        ),
        ({"services_mode": "socket"}, "it rains", {"services": ("yes", "socket: ")}),
        (
            {"services_mode": "off", "services_reason": "no --services, and no host link"}, "",
            {"services": ("yes", "off; no --services, and no host link")},
        ),
        (
            {"services_mode": "host", "host_link": LINK}, "",
            {"services": ("yes", "host: they go by the host link"), "node": ("no", "svl1 on the node: that one is go")},
        ),
        ({"services_mode": "host"}, "", {"services": ("no", "host, and the pod has no host link")}),
        ({"host_link": THERE}, "", {"node": ("yes", "by host0, which is svl2 on the node")}),
    ],
)  # fmt: skip
def test_a_pods_way_to_services_and_to_its_node(
    sick: test_doctor.Sick, recorded: dict[str, Any], trouble: str, answers: dict[str, tuple[str, str]]
) -> None:
    """From the daemon's record of the VF, and from what its proof has found."""
    node = sick.node
    (node.bench.node.tree.root / "class/net/svl2").mkdir(parents=True)
    with node.serving(), node.kubelet():
        assert node.cni("ADD").code == 0
        book = ledger.Ledger(node.folder / "run")
        record = book.read(devices.pci_address(node.vf))
        assert record is not None
        book.write(msgspec.structs.replace(record, **recorded))
        daemon_problems.Trouble(node.folder / "run").tell([trouble] if trouble else [])
        found = node.run("explain", "web", pod(node), "-o", "json").document["items"]
        of_vf = node.run("explain", node.vf, "-o", "json").document["items"]
    for steps in (found, of_vf):
        seen = {each["step"]: (each["answer"], each["evidence"]) for each in steps}
        for step, (answer, words) in answers.items():
            assert seen[step][0] == answer
            assert words in seen[step][1]
        assert ("node" in seen) == ("host_link" in recorded)


def test_1_a_resource_that_is_misspelt(sick: test_doctor.Sick) -> None:
    told = {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient rail-a"}]}}
    with sick.node.serving(), sick.node.kubelet():
        scheduled = explained(sick.node, "web", pod(sick.node, "intel.com/rail-a", **told))
        reason = explained(sick.node, "web", "--resource", "intel.com/rail-a")
    assert (scheduled["step"], scheduled["evidence"]) == ("scheduled", "Insufficient rail-a")
    assert (reason["step"], reason["remedy"]) == ("pool", "write intel.com/rail_a in the pod")


def test_2_a_pool_that_is_empty(sick: test_doctor.Sick) -> None:
    sick.node.configure([{"resourceName": "rail_a", "selectors": {"drivers": ["iavf"]}}])
    with sick.node.serving(), sick.node.kubelet():
        reason = explained(sick.node, "web", pod(sick.node))
    assert reason["step"] == "devices"
    assert reason["evidence"] == "7 VFs: drivers: it has igbvf"


def test_3_vfs_that_are_unhealthy(sick: test_doctor.Sick) -> None:
    for vf in sick.node.bench.vfs:
        sick.sys.set_driver(vf, None)
    with sick.node.serving(), sick.node.kubelet():
        reason = explained(sick.node, "web", pod(sick.node))
        of_vf = explained(sick.node, sick.node.vf)
    assert (reason["step"], reason["evidence"]) == ("healthy", "0 of 7; 7 has no driver")
    assert (of_vf["step"], of_vf["remedy"]) == ("driver", f"echo {sick.node.vf} > /sys/bus/pci/drivers_probe")


def test_4_a_kubelet_that_does_not_know_the_resource(sick: test_doctor.Sick) -> None:
    sick.node.api.known.clear()
    with sick.node.serving(), sick.node.kubelet():
        reason = explained(sick.node, "web", pod(sick.node))
        (sick.folder / "kubelet/device-plugins/intel.com_rail_a.sock").unlink()
        nobody = explained(sick.node, "web", pod(sick.node))
    assert (reason["step"], reason["evidence"]) == (
        "registered", "the socket is there and the kubelet does not list it",
    )  # fmt: skip
    assert nobody["remedy"] == "start the device plugin"


def test_5_a_daemon_that_is_down(sick: test_doctor.Sick) -> None:
    with sick.node.kubelet():
        reason = explained(sick.node, "web", pod(sick.node))
    assert reason["step"] == "daemon"
    assert "it is not running" in reason["evidence"]


def test_6_a_policy_that_refuses(sick: test_doctor.Sick) -> None:
    (sick.folder / "policy.json").write_text('{"rules": [{"vlans": ["100-199"]}]}')
    with sick.node.serving(), sick.node.kubelet():
        assert sick.node.cni("ADD", vlan=7).code == 7
        reason = explained(sick.node, "web", pod(sick.node))
        of_vf = explained(sick.node, sick.node.vf)
    assert reason["step"] == of_vf["step"] == "added"
    assert "failed with code 7: the node's policy" in reason["evidence"]
    assert "vlan 7: it allows 100-199" in reason["evidence"]


def test_7_a_pf_that_is_down(sick: test_doctor.Sick) -> None:
    """With checkHealthOnPf no pod is given a VF; without it pods have one that carries nothing."""
    sick.sys.set_attribute(PF, "net/enp1s0/flags", "0x1002")
    with sick.node.serving(), sick.node.kubelet():
        reason = explained(sick.node, "web", pod(sick.node))
        sick.node.configure([{**nodes.CONFIG[0], "checkHealthOnPf": False}])
        assert sick.node.cni("ADD").code == 0
        later = explained(sick.node, "web", pod(sick.node))
        of_vf = explained(sick.node, sick.node.vf)
    assert (reason["step"], reason["evidence"]) == ("healthy", "0 of 7; 7 has its PF enp1s0 down")
    assert (later["step"], later["evidence"]) == (of_vf["step"], of_vf["evidence"]) == ("link", "enp1s0 is down")


def test_8_addresses_that_are_used_up(sick: test_doctor.Sick) -> None:
    with sick.node.serving(), sick.node.kubelet():
        assert sick.node.cni("ADD", ipam={"type": "full"}).code == 1
        reason = explained(sick.node, "web", pod(sick.node))
    assert reason["step"] == "added"
    assert "no IP addresses available in range set" in reason["evidence"]
    assert "IPAM" in reason["remedy"]


def test_devices_that_others_hold(sick: test_doctor.Sick) -> None:
    node = sick.node
    node.give("greedy", *node.bench.vfs)
    node.give("web")
    with node.serving(), node.kubelet():
        reason = explained(node, "web", pod(node))
    assert (reason["step"], reason["evidence"]) == ("free", "0 free, 1 wanted; held by default/greedy")


def test_a_pod_that_is_not_here(sick: test_doctor.Sick) -> None:
    with sick.node.serving(), sick.node.kubelet():
        reason = explained(sick.node, "other", "-r", nodes.RAIL)
    assert (reason["step"], reason["evidence"]) == ("here", "the kubelet has no pod default/other")


@pytest.mark.parametrize("name", ["default/wbe", "pod/wbe", "wbe"])
def test_a_pod_whose_name_is_misspelt(sick: test_doctor.Sick, name: str) -> None:
    with sick.node.serving(), sick.node.kubelet():
        reason = explained(sick.node, name)
    assert (reason["step"], reason["remedy"]) == ("here", "is default/web meant?")


def test_a_pod_that_has_ended(sick: test_doctor.Sick) -> None:
    node = sick.node
    node.give("other")
    with node.serving(), node.kubelet():
        assert [node.cni(command).code for command in ("ADD", "DEL")] == [0, 0]
        del node.api.pods["default", "web"]
        reason = explained(node, "web")
    assert reason["evidence"] == "the kubelet has no pod default/web, which has been here before"


@pytest.mark.parametrize("name", ["enp1s0v9", "01:1f.7", "0000:01:1f.7", "enp1s0#9", "intel.com/rail_a"])
def test_a_name_that_nothing_has(sick: test_doctor.Sick, name: str) -> None:
    with sick.node.serving(), sick.node.kubelet():
        assert explained(sick.node, name)["step"] in ("here", "device")


@pytest.mark.parametrize("name", ["0000:01:10.2", "01:10.2", "enp1s0v1", "enp1s0#1", "0000:01:00.0#1"])
def test_a_vf_by_each_of_its_names(sick: test_doctor.Sick, name: str) -> None:
    with sick.node.serving(), sick.node.kubelet():
        ran = sick.node.run("explain", name, "-o", "json")
    assert (ran.status, ran.document["about"], ran.document["unseen"]) == (0, "0000:01:10.2", [])
    assert "nobody: it is free" in [each["evidence"] for each in ran.document["items"]]


@pytest.mark.parametrize("name", ["web", "pod/web", "default/web", "pods/default/web", "po/web"])
def test_a_pod_by_each_of_its_names(sick: test_doctor.Sick, name: str) -> None:
    with sick.node.serving(), sick.node.kubelet():
        assert sick.node.cni("ADD").code == 0
        ran = sick.node.run("explain", name, "-o", "json")
    assert (ran.status, ran.document["about"]) == (0, "default/web")


def test_a_pod_of_another_namespace_is_found_if_it_is_the_only_one(sick: test_doctor.Sick) -> None:
    with sick.node.serving(), sick.node.kubelet():
        sick.node.api.pods["ml", "train"] = []
        assert sick.node.run("explain", "train", "-o", "json").document["about"] == "ml/train"
        sick.node.api.pods["data", "train"] = []
        ran = sick.node.run("explain", "train")
        assert (ran.status, ran.out) == (exit_codes.Exit.USAGE, "")
        assert "'train' may be data/train or ml/train: write which pod is meant in full" in ran.err
        sick.node.api.pods["default", "train"] = []
        assert sick.node.run("explain", "train", "-o", "json").document["about"] == "default/train"


def test_a_resource_without_its_prefix(sick: test_doctor.Sick) -> None:
    with sick.node.serving(), sick.node.kubelet():
        assert sick.node.cni("ADD").code == 0
        ran = sick.node.run("explain", "web", "--resource", "rail_a", "-o", "json")
        reason = explained(sick.node, "web", "--resource", "rail-a")
    assert ran.status == 0
    assert (reason["step"], reason["remedy"]) == ("pool", "write intel.com/rail_a in the pod")


def test_a_device_that_no_network_names(sick: test_doctor.Sick) -> None:
    with sick.node.serving(), sick.node.kubelet():
        reason = explained(sick.node, "web")
    assert reason["step"] == "attached"
    assert (
        reason["evidence"] == f"{sick.node.vf} was given to it and is in the host as enp1s0v0: no ADD has attached it"
    )


def test_what_could_not_be_seen_never_adds_up_to_nothing_is_wrong(sick: test_doctor.Sick) -> None:
    node = sick.node
    with node.serving():
        for name in ("web", node.vf):
            ran, told = node.run("explain", name), node.run("explain", name, "-o", "json").document
            assert ran.status == exit_codes.Exit.UNREADABLE
            assert "nothing is wrong" not in ran.out
            assert "no fault was found, but this cannot be told from here: " in ran.out
            assert told["reason"] is None
            assert any("there is no" in each for each in told["unseen"])


def test_a_list_that_is_cut_says_so(sick: test_doctor.Sick) -> None:
    for number, vf in enumerate(sick.node.bench.vfs):
        sick.node.give(f"pod-{number}", vf)
    sick.node.give("web")
    with sick.node.serving(), sick.node.kubelet():
        reason = explained(sick.node, "web", "-r", "rail_a")
    held = ", ".join(f"default/pod-{number}" for number in range(5))
    assert reason["evidence"] == f"0 free, 1 wanted; held by {held}, 2 more"


def test_a_pod_that_asks_for_nothing(sick: test_doctor.Sick) -> None:
    with sick.node.serving(), sick.node.kubelet():
        assert explained(sick.node, "web", pod(sick.node, "cpu"))["step"] == "requested"


def test_a_vf_that_is_not_there_or_in_no_pool(sick: test_doctor.Sick) -> None:
    with sick.node.serving(), sick.node.kubelet():
        assert explained(sick.node, "0000:0f:00.0")["step"] == "device"
        sick.node.configure([{"resourceName": "x", "selectors": {"pfNames": ["enp9s0"]}}])
        reason = explained(sick.node, sick.node.bench.vfs[3])
    assert reason["step"] == "pool"
    assert "intel.com/x: " in reason["evidence"]


def test_what_cannot_be_seen_is_no_reason(node: nodes.Node) -> None:
    """No kubelet, no configuration: what is left is the daemon, and nothing is made up."""
    (node.folder / "config.json").unlink()
    with node.serving():
        assert node.cni("ADD").code == 0
        ran = node.run("explain", node.vf, "-o", "json")
    unseen = {each["step"] for each in ran.document["items"] if each["answer"] == "cannot tell"}
    assert (ran.status, unseen) == (0, {"pool"})


@pytest.mark.parametrize("text", ["", "[1", "{", "kind: Node", '{"kind": "Pod", "metadata": {"name": "other"}}'])
def test_a_file_that_is_not_this_pod_is_one_clear_error(sick: test_doctor.Sick, text: str) -> None:
    (sick.folder / "pod.json").write_text(text)
    ran = sick.node.run("explain", "web", f"--pod-file={sick.folder}/pod.json")
    assert (ran.status, ran.out) == (exit_codes.Exit.USAGE, "")
    assert "pod.json" in ran.err


def test_a_vf_that_could_not_be_taken_back(sick: test_doctor.Sick) -> None:
    record = test_doctor.attach(sick)
    book = sick.node.bench.book
    book.write(msgspec.structs.replace(record, problem="the kernel refused to move link 7"))
    with sick.node.serving(), sick.node.kubelet():
        of_vf = explained(sick.node, sick.node.vf)
        ran = sick.node.run("explain", "web", pod(sick.node), "-o", "json")
    assert of_vf["step"] == "healthy"
    assert "could not be taken back from its pod: the kernel refused to move link 7" in of_vf["evidence"]
    [attached] = [each for each in ran.document["items"] if each["step"] == "attached"]
    assert (attached["answer"], "has failed: the kernel refused to move link 7" in attached["evidence"]) == ("no", True)


def test_a_vf_that_a_claim_has_is_not_the_device_plugins(sick: test_doctor.Sick) -> None:
    """After its resource was switched back from claims, until that claim is unprepared."""
    vf = sick.node.bench.vfs[2]
    book = grants.Grants(sick.folder / "run")
    book.create()
    device = grants.GrantedDevice(vf, "vf", "node/intel.com/rail-a", "x")
    book.write(grants.ClaimGrant(uid="u1", namespace="ml", name="rails", devices=(device,)))
    with sick.node.serving(), sick.node.kubelet():
        reason = explained(sick.node, vf)
    assert (reason["step"], reason["evidence"]) == ("healthy", "0 of 1; 1 is prepared for claim ml/rails")


def grant(sick: test_doctor.Sick, pod: str, *vfs: str) -> None:
    given = tuple(grants.GrantedDevice(vf, "vf", "node/intel.com/rail-a", "x", nodes.RAIL) for vf in vfs)
    book = grants.Grants(sick.folder / "run")
    book.create()
    pods = (grants.GrantedPod(pod, "p1"),)
    book.write(grants.ClaimGrant(uid="u1", namespace="default", name="rails", pods=pods, devices=given))


def with_claims(sick: test_doctor.Sick, **status: object) -> str:
    """A pod that has one claim by its name and one by a template, as the API server has it."""
    spec = {"containers": [], "resourceClaims": [{"name": "a", "resourceClaimName": "rails"},
                                                 {"name": "b", "resourceClaimTemplateName": "t"}]}  # fmt: skip
    written = {"kind": "Pod", "metadata": {"name": "web"}, "spec": spec, "status": status}
    (sick.folder / "pod.json").write_text(json.dumps(written))
    return f"--pod-file={sick.folder}/pod.json"


def steps(sick: test_doctor.Sick, *arguments: str) -> dict[str, dict[str, str]]:
    """By name; the last of each."""
    with sick.node.serving(), sick.node.kubelet():
        ran = sick.node.run("explain", *arguments, "-o", "json")
    return {each["step"]: each for each in ran.document["items"]}


def for_claims(sick: test_doctor.Sick) -> None:
    sick.node.configure([{**nodes.CONFIG[0], "publish": "dra"}])
    sick.node.api.pods["default", "web"] = []


def test_a_pods_claims_are_followed_to_the_add_that_has_not_come(sick: test_doctor.Sick) -> None:
    for_claims(sick)
    grant(sick, "web", sick.node.vf)
    found = steps(sick, "web", with_claims(sick))
    assert found["requested"]["evidence"] == "the claim rails"
    assert found["claim"]["question"] == "is claim default/rails prepared?"
    assert found["claim"]["evidence"] == f"{sick.node.vf} of {nodes.RAIL} for request vf"
    assert (found["pool"]["answer"], found["registered"]["answer"]) == ("yes", "cannot tell")
    folder = sick.folder / "kubelet/plugins/sriov-underlay"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as driver:
        driver.bind(str(folder / "dra.sock"))
        assert steps(sick, "web", with_claims(sick))["registered"]["answer"] == "yes"
    assert "no ADD has attached it" in found["attached"]["evidence"]
    assert steps(sick, "web")["requested"]["evidence"] == f"{nodes.RAIL}, by what it was given"


def test_a_claim_that_is_not_prepared_is_the_reason(sick: test_doctor.Sick) -> None:
    for_claims(sick)
    made = with_claims(sick, resourceClaimStatuses=[{"name": "b", "resourceClaimName": "web-b-x7"}])
    grant(sick, "web", sick.node.vf)
    found = steps(sick, "web", made)["claim"]
    assert (found["question"], found["answer"]) == ("is claim default/web-b-x7 prepared?", "no")
    assert "sriov-dra-driver" in found["remedy"]


def test_a_claim_that_another_pod_has_is_the_reason(sick: test_doctor.Sick) -> None:
    for_claims(sick)
    grant(sick, "first", sick.node.vf)
    found = steps(sick, "web", with_claims(sick))["claim"]
    assert (found["answer"], found["evidence"]) == (
        "no",
        "it is prepared for pod default/first, and a VF is in one pod",
    )


def test_grants_that_cannot_be_read_leave_it_open(sick: test_doctor.Sick) -> None:
    for_claims(sick)
    grant(sick, "web", sick.node.vf)
    [path] = (sick.folder / "run/claims").glob("*.json")
    path.write_text("{")
    found = steps(sick, "web", with_claims(sick))["claim"]
    assert (found["answer"], "cannot be read" in found["evidence"]) == ("cannot tell", True)


def test_a_vf_that_a_claim_has_says_whose_it_is(sick: test_doctor.Sick) -> None:
    for_claims(sick)
    grant(sick, "web", sick.node.vf)
    found = steps(sick, sick.node.vf)
    assert found["claim"]["evidence"] == "claim default/rails, prepared for pod default/web"
    assert found["owner"]["evidence"] == "default/web, by a claim"
