"""VFs of a pod's claims on real namespaces (root), veths for VFs: by the lists of docs/dra.md, as a runtime does."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pytest

from sriov import settings
from sriov.linux import netns
from sriov.state import grants, ledger
from tests.fakes import mock_node
from tests.kernel import linked, mortal_daemon, namespaces, test_gc
from tests.sriov_cni.shim import shims

pytestmark = pytest.mark.root
PAGE = (pathlib.Path(__file__).parents[2] / "docs/dra.md").read_text()
VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4")
STEP = 9
"""The daemon dies after every so-many-th request: tests/crash has all of them, on a kernel in memory."""


def listed(name: str) -> dict[str, Any]:
    """The network list of that name on the page."""
    found = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]
    [one] = [each for each in found if each.get("name") == name]
    return one  # type: ignore[no-any-return]


class RuntimesNode(Protocol):
    """Where the runtime runs: the daemon's run directory is `run` of its folder."""

    folder: pathlib.Path

    def command(self, *command: str) -> Sequence[str]:
        """Return the command that runs this on the node."""


class Runtime:
    """A runtime with one network list, whose leases are in the test's folder; `said` is what ADD has answered."""

    def __init__(
        self, node: RuntimesNode, network: dict[str, Any], uid: str, pod: namespaces.Namespace, shim: str = "native"
    ) -> None:
        self.node, self.network, self.uid, self.pod, self.shim = node, network, uid, pod, shim
        self.said: list[bytes] = []
        self.error = ""
        for each in network["plugins"]:
            each["ipam"]["dataDir"] = str(node.folder / "leases")

    def run(self, command: str) -> int:
        """Run the whole list, as libcni does; returns the exit status of the first that fails."""
        wanted = self.network["plugins"]
        if command == "CHECK":  # bridge takes every address of a result for its own (plugins/main/bridge, cmdCheck())
            wanted = wanted[-1:]
        for plugin in reversed(wanted) if command == "DEL" else wanted:
            status, said = self._run(command, plugin)
            if status:
                self.error = json.loads(said)["msg"]
                return status
            if command == "ADD":
                self.said.append(said)
        return 0

    def _run(self, command: str, plugin: dict[str, Any]) -> tuple[int, bytes]:
        head = {key: value for key, value in self.network.items() if key != "plugins"}
        stdin = json.dumps({**head, **plugin}).encode()
        if self.said:
            stdin = stdin[:-1] + b', "prevResult": ' + self.said[-1].strip() + b"}"
        env = {"CNI_COMMAND": command, "CNI_CONTAINERID": self.uid, "CNI_NETNS": self.pod.path, "CNI_IFNAME": "eth0"}
        env |= {
            "CNI_PATH": linked.PLUGINS,
            "PATH": os.environ["PATH"],
            "CNI_ARGS": f"IgnoreUnknown=1;{pod_args(self.uid)}",
        }
        env |= {"SRIOV_CNI_SOCKET": str(self.node.folder / "run/cni.sock"), "SRIOV_CNI_WAIT": "0.2"}
        is_ours = plugin["type"] == "sriov"
        program = shims.command(self.shim) if is_ours else (f"{linked.PLUGINS}/{plugin['type']}",)
        done = subprocess.run(self.node.command(*program), input=stdin, capture_output=True, env=env, check=False)
        return done.returncode, done.stdout

    @property
    def result(self) -> Any:
        return json.loads(self.said[-1])

    def addresses(self) -> dict[str, list[str]]:
        """The IPv4 addresses of the pod's interfaces that are up."""
        return {
            each["ifname"]: [one["local"] for one in each["addr_info"] if one["family"] == "inet"]
            for each in linked.shown(self.pod.name, "address")
            if "UP" in each["flags"]
        }


def pod_args(uid: str) -> str:
    return f"K8S_POD_NAMESPACE=ml;K8S_POD_NAME=pod-{uid};K8S_POD_UID={uid}"


def grant(node: mock_node.MockNode, claim: str, uid: str, *devices: grants.GrantedDevice) -> grants.ClaimGrant:
    book = grants.Grants(node.folder / "run")
    book.create()
    pods = (grants.GrantedPod(f"pod-{uid}", uid),)
    made = grants.ClaimGrant(uid=f"of-{claim}", namespace="ml", name=claim, pods=pods, devices=devices, of_one_pod=True)
    book.write(made)
    return made


def device(vf: str, **other: Any) -> grants.GrantedDevice:
    return grants.GrantedDevice(vf, "vf", "node/intel.com/a", "x", **other)


@contextlib.contextmanager
def made_node(folder: pathlib.Path) -> Iterator[mock_node.MockNode]:
    with contextlib.closing(mock_node.MockNode(folder, pfs=1, vfs=3)) as node:
        assert sorted(node.state.read()) == list(VFS)
        yield node


def assert_home(node: mock_node.MockNode, before: list[Any]) -> None:
    """Every VF is as it was, and nobody has a record or an address."""
    assert [node.netdev(vf) for vf in VFS] == before
    assert [node.vf_settings(vf) for vf in VFS] == [settings.BASELINE] * 3
    assert list(ledger.Ledger(node.folder / "run").records()) == []
    assert leases(node) == set()
    assert [*(node.folder / "run/claimed").glob("*")] == []


def leases(node: mock_node.MockNode) -> set[str]:
    """Of all networks: the addresses that host-local has given."""
    return {path.name for path in (node.folder / "leases").glob("*/*") if path.name[:1].isdigit()}


def test_alone_two_claims_of_one_pod_and_two_devices_of_one_claim(tmp_path: pathlib.Path) -> None:
    with made_node(tmp_path) as node, test_gc.daemon(node, tmp_path), namespaces.made("pod") as pod:
        before = [node.netdev(vf) for vf in VFS]
        grant(node, "a", "u1", device(VFS[2]), device(VFS[0], interface="rail0", network={"vlan": 100}))
        grant(node, "b", "u1", device(VFS[1]))
        runtime = Runtime(node, listed("underlay"), "u1", pod)
        assert runtime.run("ADD") == 0, runtime.error
        there = runtime.addresses()
        assert {name: len(found) for name, found in there.items()} == {"eth0": 1, "rail0": 1, "net1": 1}
        assert [each["name"] for each in runtime.result["interfaces"]] == ["eth0", "rail0", "net1"]
        named = {each["interface"]: each["address"].partition("/")[0] for each in runtime.result["ips"]}
        assert [[named[number]] for number in range(3)] == [there[name] for name in ("eth0", "rail0", "net1")]
        assert node.vf_settings(VFS[0]).vlan == 100
        assert leases(node) == {address for [address] in there.values()}
        assert runtime.run("CHECK") == 0, runtime.error
        linked.ip(pod.name, "link set net1 down")
        assert (runtime.run("CHECK"), runtime.error) == (1, "interface net1 is down")
        for _ in range(2):
            assert runtime.run("DEL") == 0, runtime.error
        assert_home(node, before)


def test_chained_behind_a_bridge(tmp_path: pathlib.Path) -> None:
    with (
        made_node(tmp_path) as node,
        test_gc.daemon(node, tmp_path),
        namespaces.made("pod") as pod,
        namespaces.made("other") as another,
    ):
        before = [node.netdev(vf) for vf in VFS]
        made = grant(node, "a", "u1", device(VFS[0]), device(VFS[1]))
        runtime = Runtime(node, listed("cluster"), "u1", pod)
        assert runtime.run("ADD") == 0, runtime.error
        bridged, ours = (json.loads(each) for each in runtime.said)
        assert [each["name"] for each in ours["interfaces"][3:]] == ["net1", "net2"]
        assert [each["interface"] for each in ours["ips"]] == [2, 3, 4]
        for key in ("interfaces", "ips", "routes"):
            assert ours[key][: len(bridged[key])] == bridged[key]
        assert {name: found for name, found in runtime.addresses().items() if name != "lo"} == {
            name: [one["address"].partition("/")[0]]
            for name, one in zip(("eth0", "net1", "net2"), ours["ips"], strict=True)
        }
        assert runtime.run("CHECK") == 0, runtime.error
        without = Runtime(node, listed("cluster"), "u2", another)
        assert without.run("ADD") == 0, without.error
        assert without.said[1].strip() == without.said[0].strip(), "to the byte"
        assert (without.run("CHECK"), without.run("DEL")) == (0, 0), without.error
        grants.Grants(node.folder / "run").remove(made.uid)
        runtime.said.clear()  # a runtime that has lost the result, too
        assert runtime.run("DEL") == 0, runtime.error
        assert_home(node, before)


def test_a_second_device_that_fails_sends_the_first_home(tmp_path: pathlib.Path) -> None:
    with made_node(tmp_path) as node, test_gc.daemon(node, tmp_path), namespaces.made("pod") as pod:
        before = [node.netdev(vf) for vf in VFS]
        ranges = [[{"subnet": "10.1.0.0/30", "rangeStart": "10.1.0.2", "rangeEnd": "10.1.0.2"}]]
        ipam = {"type": "host-local", "ranges": ranges, "dataDir": str(tmp_path / "leases")}
        own = {"ipam": ipam, "node_network": "rail-b"}
        grant(node, "a", "u1", device(VFS[0]), device(VFS[1], **own), device(VFS[2], **own))
        runtime = Runtime(node, listed("underlay"), "u1", pod)
        assert (runtime.run("ADD"), "no IP addresses available in range" in runtime.error) == (1, True)
        assert [node.netdev(vf) for vf in VFS] == before
        assert (leases(node), runtime.addresses()) == (set(), {})
        assert runtime.run("DEL") == 0, runtime.error
        assert_home(node, before)


def test_a_daemon_that_dies_between_two_requests(tmp_path: pathlib.Path) -> None:
    with made_node(tmp_path) as node, netns.open_path(f"/run/netns/{node.name}") as home:
        before = [node.netdev(vf) for vf in VFS]
        grant(node, "a", "u1", device(VFS[0]), device(VFS[1]))
        for last in range(1, 200, STEP):
            with namespaces.made("pod") as pod:
                runtime = Runtime(node, listed("underlay"), "u1", pod)
                with mortal_daemon.running(node, home, last):
                    answered = runtime.run("ADD") == 0
                with mortal_daemon.running(node, home):
                    assert runtime.run("DEL") == 0, runtime.error
                assert_home(node, before)
            if answered:
                assert last > 2 * STEP, "the call has hardly any requests: is it made?"
                return
