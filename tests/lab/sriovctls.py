"""A node for sriovctl in the guest: real VFs and the real daemon, a stand-in kubelet, every file below one folder."""

import contextlib
import json
import pathlib
from collections.abc import Iterator

from sriov.state import call_log
from sriov_cni.context import policy
from tests.fakes import pod_resources
from tests.kernel import namespaces
from tests.lab import igb
from tests.sriov_cni import harness
from tests.sriovctl import nodes

RAIL = "intel.com/rail_a"
SUBNET = "192.0.2.0/30"  # two hosts, of which one is the gateway


class Node:
    """The kubelet says that pod default/web was given `vf`, and that the pool is the first PF's VFs."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.vf = igb.vf(3).pci
        self._calls = 0
        self.api = pod_resources.PodResources({("default", "web"): [[(RAIL, [str(self.vf)])]]})
        self.api.known[RAIL] = [str(igb.vf(index).pci) for index in range(7)]
        self.configure({"rootDevices": [str(igb.PF0)]})
        for name in ("kubelet/pod-resources", "net.d", "run"):
            (folder / name).mkdir(parents=True, mode=0o700)
        network = {"cniVersion": "1.0.0", "name": "n1", "type": "sriov", "resourceName": RAIL}
        (folder / "net.d/sriov.conf").write_text(json.dumps(network))
        self.places = [f"--run-dir={folder}/run", f"--config={folder}/config.json", f"--kubelet={folder}/kubelet"]
        self.places += [f"--cni-conf={folder}/net.d", f"--policy={folder}/policy.json"]

    def configure(self, selectors: dict[str, list[str]], **more: object) -> None:
        entry = {"resourceName": "rail_a", "selectors": selectors, **more}
        (self.folder / "config.json").write_text(json.dumps({"resourceList": [entry]}))

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        guard, calls = policy.Guard(self.folder / "policy.json"), call_log.Recent(self.folder / "run")
        with igb.host(self.folder) as (here, book):
            socket = self.folder / "run/cni.sock"
            with harness.daemon(here, book, socket, guard=guard, calls_log=calls):
                yield

    def cni(self, command: str, pod: namespaces.Namespace, container: str = "c1", **keys: object) -> harness.Answer:
        client = harness.Client(self.folder / "run/cni.sock", "/usr/lib/cni", pod.path)
        arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"
        network = harness.configuration(self.vf, **{"cniVersion": "1.0.0", **keys})
        self._calls += 1
        return client.call(command, network, CONTAINERID=container, ARGS=arguments)

    def ipam(self) -> dict[str, object]:
        return {"type": "host-local", "dataDir": f"{self.folder}/leases", "ranges": [[{"subnet": SUBNET}]]}

    def run(self, *arguments: str) -> nodes.Ran:
        """In this process: to start another takes an emulated CPU six seconds.

        What became of a call is written down when its shim has gone, and that is waited for.
        """
        assert namespaces.until(lambda: len(call_log.Recent(self.folder / "run").read()) == self._calls)
        return nodes.run(*self.places, *arguments)


@contextlib.contextmanager
def prepared(folder: pathlib.Path) -> Iterator[Node]:
    """With its kubelet."""
    made = Node(folder)
    with pod_resources.serving(folder / "kubelet/pod-resources/kubelet.sock", made.api):
        yield made
