"""CHECK of a pod whose other plugins have changed its VF, on real interfaces (root)."""

import json
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.kernel import namespaces, test_gc
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
PLUGINS = "/usr/lib/cni"
VF, MAC, OTHER = "0000:01:10.0", "02:00:00:00:cc:01", "02:00:00:00:dd:02"
NETWORK = harness.configuration(VF, cniVersion="1.0.0", mac=MAC, vlan=100)


@pytest.fixture
def attached(tmp_path: pathlib.Path) -> Iterator[tuple[namespaces.Namespace, harness.Client, object]]:
    """A pod, a runtime, and the result of its ADD."""
    with test_gc.node(tmp_path), namespaces.made("pod") as pod:
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        answer = client.call("ADD", NETWORK)
        assert answer.code == 0, answer
        yield pod, client, answer.document
        assert client.call("DEL", NETWORK).code == 0


def ip(pod: namespaces.Namespace, *arguments: str) -> None:
    subprocess.run(["ip", "-n", pod.name, *arguments], check=True)


def test_a_vf_below_another_link_has_that_ones_address(
    attached: tuple[namespaces.Namespace, harness.Client, object],
) -> None:
    """As below a bond, which this machine's kernel may not have. Another attachment makes it: no prevResult has it."""
    pod, client, result = attached
    ip(pod, "link", "add", "bond0", "type", "bridge")
    ip(pod, "link", "set", "net1", "down")
    ip(pod, "link", "set", "net1", "address", OTHER, "master", "bond0")
    ip(pod, "link", "set", "net1", "up")
    answer = client.call("CHECK", {**NETWORK, "prevResult": result})
    assert (answer.code, answer.stdout) == (0, ""), answer
    ip(pod, "link", "set", "net1", "nomaster")
    answer = client.call("CHECK", {**NETWORK, "prevResult": result})
    assert (answer.code, f"has MAC {OTHER}, not {MAC}" in answer.message) == (101, True), answer


def test_what_tuning_changed_is_as_it_says(
    attached: tuple[namespaces.Namespace, harness.Client, object],
) -> None:
    """The reference plugin, chained behind this one: a MAC, an MTU and flags."""
    pod, client, result = attached
    chained = {"cniVersion": "1.0.0", "name": "n1", "type": "tuning", "mac": OTHER, "mtu": 1400, "promisc": True}
    names = {"COMMAND": "ADD", "CONTAINERID": "c1", "NETNS": pod.path, "IFNAME": "net1", "PATH": PLUGINS}
    environment = {f"CNI_{key}": value for key, value in names.items()}
    stdin = json.dumps({**chained, "allmulti": True, "prevResult": result}).encode()
    done = subprocess.run([f"{PLUGINS}/tuning"], input=stdin, env=environment, check=True, capture_output=True)
    assert json.loads(done.stdout)["interfaces"][0]["mac"] == OTHER
    answer = client.call("CHECK", {**NETWORK, "prevResult": json.loads(done.stdout)})
    assert (answer.code, answer.stdout) == (0, ""), answer
