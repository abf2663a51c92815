"""sriovctl in its container of the DaemonSet, as `kubectl exec` runs it: it answers as sriovctl on the host does.

In the other containers less is mounted. What is not is unseen there, and no fault.
"""

import contextlib
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import pod_resources
from tests.kernel import namespaces
from tests.lab.image import nodes, test_confinement
from tests.lab.image.test_confinement import RESOURCE, VF
from tests.sriovctl import nodes as sriovctls

_CONFIGMAPS = {"config": pathlib.Path("/etc/pcidp"), "policy": pathlib.Path("/etc/sriov-underlay")}
_NETWORKS = pathlib.Path("/etc/cni/net.d")
_IDLE = 12 << 10  # KiB, resident, most of it the daemons' own Python, of which there is one copy
COMMANDS = (
    ("inventory",),
    ("attachments",),
    ("explain", "default/red"),
    ("explain", VF),
    ("doctor",),
)
FALSE = {"config-bad", "kubelet-missing", "plugin-missing", "daemon-down", "no-network", "not-registered"}


@pytest.fixture(scope="module")
def serving(runtime: nodes.Runtime) -> Iterator[nodes.Node]:
    """Pod default/red has a VF; the host's sriovctl finds the ConfigMaps where the containers have them.

    For all tests here, none of which changes anything.
    """
    api = pod_resources.PodResources({("default", "red"): [[(RESOURCE, [VF])]]})
    api.known[RESOURCE] = [VF]
    _NETWORKS.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(contextlib.closing(nodes.Node(runtime)))
        (_NETWORKS / "10-n1.conf").write_text(json.dumps({**test_confinement.network(node), "deviceID": VF}))
        for volume, place in _CONFIGMAPS.items():
            place.symlink_to(node.file(volume, "."))
            stack.callback(place.unlink)
        stack.enter_context(test_confinement.advertising(node))
        node.ask_kubelet(do="wait", resource=RESOURCE, devices=14, timeout=60)
        assert stack.enter_context(test_confinement.serving(node)) == ""
        stack.enter_context(pod_resources.serving(nodes.KUBELET / "pod-resources/kubelet.sock", api))
        pod = stack.enter_context(namespaces.made("red"))
        assert stack.enter_context(test_confinement.attached(node, pod)) == ""
        yield node


def test_it_has_what_is_declared_and_waits_for_next_to_nothing(node: nodes.Node) -> None:
    with node.running("sriovctl") as process:
        test_confinement.holds_what_is_declared(node, "sriovctl")
        assert int(node.process("sriovctl").status["VmRSS"].split()[0]) < _IDLE
        node.end("sriovctl")
        assert process.wait(10) == 0, "it is told to stop, and does"


def test_its_answers_are_the_hosts(serving: nodes.Node) -> None:
    with serving.running("sriovctl"):
        for command in COMMANDS:
            inside = serving.executed("sriovctl", "sriovctl", *command, "-o", "json")
            host = sriovctls.run(*command, "-o", "json")
            found, wanted = json.loads(inside.stdout), host.document
            unseen = [each.partition(":")[0] for each in found.pop("unseen")]
            assert (inside.returncode, found) == (host.status, without_unseen(wanted)), inside.stderr
            assert unseen == (["network managers"] if command == ("doctor",) else [])


def without_unseen(document: dict[str, Any]) -> dict[str, Any]:
    assert document.pop("unseen") == []
    return document


@pytest.mark.parametrize("container", ["device-plugin", "cni-daemon"])
def test_in_another_container_nothing_is_made_up(serving: nodes.Node, container: str) -> None:
    ran = serving.executed(container, "sriovctl", "doctor", "-o", "json")
    document = json.loads(ran.stdout)
    assert not FALSE & {each["finding"] for each in document["items"]}
    assert any("use the container sriovctl of its pod" in each for each in document["unseen"])
    assert ran.returncode == 3


@pytest.mark.parametrize(
    ("lost", "command", "says"),
    [
        ("config", "inventory", "pools and health: /etc/pcidp/config.json is not mounted"),
        ("policy", "doctor", "the node's policy: /etc/sriov-underlay/policy.json is not mounted"),
        ("device-plugins", "doctor", "what is registered: /var/lib/kubelet/device-plugins is not mounted"),
        ("pod-resources", "inventory", "pods: /var/lib/kubelet/pod-resources/kubelet.sock is not mounted"),
        ("run", "attachments", "owners: /run/sriov is not mounted"),
        ("netns", "attachments", "unseen"),
        ("cni-bin", "doctor", "the CNI plugin: /opt/cni/bin is not mounted"),
        ("cni-conf", "doctor", "networks: /etc/cni/net.d is not mounted"),
    ],
)
def test_without(serving: nodes.Node, lost: str, command: str, says: str) -> None:
    with serving.running("sriovctl", lost):
        ran = serving.executed("sriovctl", "sriovctl", command)
    assert re.search(says, ran.stdout + ran.stderr), ran
