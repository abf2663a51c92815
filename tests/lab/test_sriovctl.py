"""sriovctl on real SR-IOV: it follows an attach, and explains what was done to the node."""

import contextlib
import json
import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from sriov_cni import policy, recent
from tests.fakes import pod_resources
from tests.kernel import namespaces
from tests.lab import igb
from tests.sriov_cni import harness

RAIL = "intel.com/rail_a"
SUBNET = "192.0.2.0/30"  # two hosts, of which one is the gateway


class Node:
    """The guest with the daemon's files, a configuration and a kubelet's PodResources below `folder`."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.vf = igb.vf(3).pci
        self.api = pod_resources.PodResources({("default", "web"): [[(RAIL, [str(self.vf)])]]})
        self.api.known[RAIL] = [str(igb.vf(index).pci) for index in range(7)]
        self.configure({"rootDevices": [str(igb.PF0)]})
        for name in ("kubelet/pod-resources", "net.d", "run"):
            (folder / name).mkdir(parents=True, mode=0o700)
        network = {"cniVersion": "1.0.0", "name": "n1", "type": "sriov", "resourceName": RAIL}
        (folder / "net.d/sriov.conf").write_text(json.dumps(network))
        self.command = [sys.executable, "-m", "sriovctl", f"--run-dir={folder}/run", f"--config={folder}/config.json"]
        self.command += [f"--kubelet={folder}/kubelet", f"--cni-conf={folder}/net.d", f"--policy={folder}/policy.json"]

    def configure(self, selectors: dict[str, list[str]]) -> None:
        entry = {"resourceName": "rail_a", "selectors": selectors}
        (self.folder / "config.json").write_text(json.dumps({"resourceList": [entry]}))

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        guard, calls = policy.Guard(self.folder / "policy.json"), recent.Recent(self.folder / "run")
        with igb.host(self.folder) as (here, book):
            socket = self.folder / "run/cni.sock"
            with harness.daemon(here, book, socket, guard=guard, calls_log=calls):
                yield

    def cni(self, command: str, pod: namespaces.Namespace, container: str = "c1", **keys: object) -> harness.Answer:
        client = harness.Client(self.folder / "run/cni.sock", "/usr/lib/cni", pod.path)
        arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"
        network = harness.configuration(self.vf, **{"cniVersion": "1.0.0", **keys})
        return client.call(command, network, CONTAINERID=container, ARGS=arguments)

    def ipam(self) -> dict[str, object]:
        return {"type": "host-local", "dataDir": f"{self.folder}/leases", "ranges": [[{"subnet": SUBNET}]]}

    def reason(self, *what: str) -> tuple[str, str]:
        """Step and evidence."""
        command = [*self.command, "explain", *what, "-o", "json"]
        done = subprocess.run(command, cwd=harness.PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        told = json.loads(done.stdout)
        return next((each["step"], each["evidence"]) for each in told["items"] if each["step"] == told["reason"])


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Iterator[Node]:
    made = Node(tmp_path)
    with pod_resources.serving(tmp_path / "kubelet/pod-resources/kubelet.sock", made.api):
        yield made


def test_watch_follows_an_attach(node: Node) -> None:
    """By events: the next look without a reason comes after the test would have given up."""
    command = [*node.command, "inventory", "--watch", "-o", "json"]
    with (
        node.serving(),
        namespaces.made("pod") as pod,
        subprocess.Popen(command, cwd=harness.PROJECT, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        patience = threading.Timer(200, process.kill)
        patience.start()
        try:
            assert json.loads(process.stdout.readline())["kind"] == "Inventory"
            assert node.cni("ADD", pod, vlan=100).code == 0
            while _netdev(process.stdout.readline(), node.vf) is not None:
                pass
            assert node.cni("DEL", pod).code == 0
            while _netdev(process.stdout.readline(), node.vf) is None:
                pass
        finally:
            patience.cancel()
            process.terminate()


def _netdev(line: str, vf: str) -> object:
    return next(each["netdev"] for each in json.loads(line)["items"] if each["device"] == vf)


def test_a_resource_that_is_misspelt(node: Node) -> None:
    assert node.reason("web", "--resource", "intel.com/rail-a") == ("pool", f"config.json has {RAIL}")


def test_a_pool_that_is_empty(node: Node) -> None:
    """The driver of the guest's VFs is another."""
    node.configure({"drivers": ["iavf"]})
    assert node.reason("web") == ("devices", "14 VFs: drivers: it has igbvf")


def test_a_kubelet_that_does_not_know_the_resource(node: Node) -> None:
    node.api.known.clear()
    assert node.reason("web") == ("registered", "no device plugin serves it")


def test_a_daemon_that_is_down(node: Node) -> None:
    step, evidence = node.reason("web")
    assert (step, "it is not running" in evidence) == ("daemon", True)


def test_a_policy_that_refuses(node: Node) -> None:
    (node.folder / "policy.json").write_text('{"rules": [{"vlans": ["100"]}]}')
    with node.serving(), namespaces.made("pod") as pod:
        assert node.cni("ADD", pod, vlan=7).code == 7
        step, evidence = node.reason("web")
    assert (step, "vlan 7: it allows 100" in evidence) == ("added", True)


def test_addresses_that_are_used_up(node: Node) -> None:
    """host-local's own words."""
    with node.serving(), namespaces.made("first") as first, namespaces.made("second") as second:
        assert node.cni("ADD", first, "c0", ipam=node.ipam()).code == 0
        node.vf = igb.vf(4).pci
        assert node.cni("ADD", second, "c1", ipam=node.ipam()).code != 0
        step, evidence = node.reason("web")
        node.vf = igb.vf(3).pci
        assert node.cni("DEL", first, "c0", ipam=node.ipam()).code == 0
    assert (step, "no IP addresses available" in evidence) == ("added", True)


def test_a_pf_that_is_down(node: Node) -> None:
    netdev = str(igb.TREE.netdev_name(igb.PF0))
    try:
        subprocess.run(["ip", "link", "set", netdev, "down"], check=True)
        with node.serving():
            assert node.reason(str(node.vf)) == ("link", f"{netdev} is down")
    finally:
        subprocess.run(["ip", "link", "set", netdev, "up"], check=True)
        assert namespaces.until(lambda: (igb.TREE.pci(igb.PF0) / "net" / netdev / "carrier").read_text() == "1\n")
    for index in range(7):
        igb.hand_out(node.folder, index)  # a PF that was down hears no VF that was not reset since


def test_a_vf_that_has_lost_its_driver(node: Node) -> None:
    (igb.TREE.pci(node.vf) / "driver/unbind").write_text(node.vf)
    try:
        with node.serving():
            assert node.reason(str(node.vf)) == ("driver", "none")
    finally:
        pathlib.Path("/sys/bus/pci/drivers_probe").write_text(node.vf)
        assert namespaces.until(lambda: igb.TREE.netdev(node.vf) is not None)


def test_release_takes_home_what_a_dead_pod_had(node: Node) -> None:
    """Its namespace is gone and no DEL has come; the daemon's own repair may be quicker, which is as good."""
    with node.serving(), namespaces.made("pod") as pod:
        assert node.cni("ADD", pod, vlan=100).code == 0
        subprocess.run(["ip", "netns", "del", pathlib.Path(pod.path).name], check=True)
        pod.handle.close()
        command = [*node.command, "attachments", "release", node.vf, "--yes"]
        assert namespaces.until(lambda: igb.TREE.netdev(node.vf) is not None)
        done = subprocess.run(command, cwd=harness.PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert igb.administered(3).vlan == 0
