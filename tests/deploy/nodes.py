"""The node of the stand-in cluster: hack/demo's node of veths, on which pods do what theirs would.

A pod of the DaemonSet installs the shim and runs the device plugin and the CNI daemon of this checkout, as far as it
has their containers, with the ConfigMap that the cluster has; a pod that names a network gets its VF by the device
plugin, the shim and the daemon, with what Multus fills in. The DaemonSet's flags are not the processes':
tests/lab/image runs its containers as they are declared.
"""

import json
import pathlib
import re
import subprocess
import sys

from hack.story import node, stage
from tests.deploy import rendering
from tests.fakes.cluster import kinds
from tests.fakes.cluster.kinds import Object
from tests.fakes.cluster.kubelets import Ended
from tests.fakes.cluster.objects import Objects

PF, VFS = "ens1f0", 8
NETWORKS, RESOURCE = "k8s.v1.cni.cncf.io/networks", "k8s.v1.cni.cncf.io/resourceName"
_LOGS = {"device-plugin": "deviceplugin.log", "cni-daemon": "sriov_cni.log", "install-shim": "install-shim.log"}
_PROGRAMS = {"sriov-device-plugin": "deviceplugin", "sriov-underlay": "sriov_installer", "sriovctl": "sriovctl"}


class Node:
    """`bin` is its /opt/cni/bin; `api_server` is for pods that ask it. Needs root."""

    def __init__(self, objects: Objects, folder: pathlib.Path) -> None:
        self._objects, self._folder = objects, folder
        self._stage = stage.Mock(folder, [PF], VFS)
        self._programs = node.Node(self._stage, folder)
        self._attached: dict[str, Object] = {}
        self._serving = ""
        self._told: dict[str, list[Object]] = {}  # each container's variables
        self.api_server = ""
        self.bin = folder / "bin"
        self.bin.mkdir()

    def started(self, pod: Object) -> dict[str, str]:
        if _is_ours(pod):
            return self._serve(pod)
        subprocess.run(["ip", "netns", "add", _namespace(pod)], check=True)
        self._attach(pod)
        return {}

    def stopped(self, pod: Object) -> None:
        if _is_ours(pod):
            if self._serving == pod["metadata"]["uid"]:
                self._programs.close()
            return
        network = self._attached.pop(pod["metadata"]["uid"])
        try:
            self._programs.cni("DEL", network, pod["metadata"]["name"], f"/run/netns/{_namespace(pod)}")
        finally:
            subprocess.run(["ip", "netns", "del", _namespace(pod)], check=True)

    def said(self, pod: Object, container: str) -> str:
        return (self._folder / _LOGS[container]).read_text()

    def run(self, pod: Object, container: str, command: list[str], sent: str) -> Ended:
        """A program of ours sees the node's hardware, or the cluster; anything else is run in its pod's network."""
        if command[:2] == ["sriov-underlay", "cluster"]:
            where = (f"--api-server={self.api_server}", f"--account={self._account(pod)}")
            return _ended([*_program(command), *where], sent)
        if _is_ours(pod):
            return _ended(self._stage.command(*_program(command), *self._places(command[0])), sent)
        return _ended(["ip", "netns", "exec", _namespace(pod), *command], sent)

    def _account(self, pod: Object) -> pathlib.Path:
        """Return the pod's folder with what the kubelet gives it to ask the API server."""
        folder = self._folder / str(pod["metadata"]["name"])
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(pod["metadata"]["name"])
        (folder / "namespace").write_text(pod["metadata"]["namespace"])
        return folder

    def close(self) -> None:
        self._programs.close()
        self._stage.close()

    def _serve(self, pod: Object) -> dict[str, str]:
        """As the kubelet does it: containers of initialisation first.

        If the node has changed its group, the pod before may not have ended: programs wait for it, and here it ends.
        """
        self._programs.close()
        self._serving, spec = pod["metadata"]["uid"], pod["spec"]
        self._told = {each["name"]: each.get("env", []) for each in spec["containers"]}
        for container in spec.get("initContainers", []):
            words = [*container["command"], *container["args"]]
            [place] = [each["mountPath"] for each in container["volumeMounts"]]
            told, status = _ran(_program([word.replace(place, str(self.bin)) for word in words]))
            assert status == 0, told
            (self._folder / _LOGS[container["name"]]).write_text(told)
        [mounted] = [each["configMap"]["name"] for each in spec["volumes"] if each["name"] == "config"]
        config = self._objects.get(kinds.CONFIGMAP, pod["metadata"]["namespace"], mounted)["data"]
        self._programs.start_kubelet()
        self._programs.start_cni_daemon()
        if "device-plugin" not in self._told:  # sriov-network-operator brings it, with a key for each node
            (self._folder / "config.json").write_text(config[spec["nodeName"]])
            return {}
        self._programs.start_device_plugin(json.loads(config["config.json"]))
        return {name: str(self._offered(name, count)) for name, count in self._resources()}

    def _resources(self) -> list[tuple[str, int]]:
        """Those that there should be, each with the number of its devices."""
        told, _ = _ran(
            self._stage.command(*_program(["sriov-device-plugin", "--dry-run"]), *self._places("sriov-device-plugin"))
        )
        return [(name, int(count)) for name, count in re.findall(r"^(\S+): (\d+) devices", told, re.MULTILINE)]

    def _offered(self, resource: str, count: int) -> int:
        return len(self._programs.ask_kubelet(do="wait", resource=resource, devices=count, timeout=30))

    def _attach(self, pod: Object) -> None:
        """What Multus does."""
        about = pod["metadata"]
        [name] = about["annotations"][NETWORKS].split(",")
        definition = self._objects.get(kinds.NETWORK, about["namespace"], name)
        resource = definition["metadata"]["annotations"][RESOURCE]
        given = self._programs.ask_kubelet(do="allocate", pod=about["name"], resource=resource, count=1)["envs"]
        [pci] = [value for key, value in given.items() if not key.endswith("_INFO")]
        network = {**json.loads(definition["spec"]["config"]), "deviceID": pci}
        network["ipam"]["dataDir"] = self._programs.addresses
        self._attached[about["uid"]] = network
        self._programs.cni("ADD", network, about["name"], f"/run/netns/{_namespace(pod)}")

    def _places(self, program: str) -> list[str]:
        """Flags for what the containers have at the usual paths."""
        found = [f"--config-file={self._folder}/config.json", f"--sysfs={self._stage.tree.root}"]
        if program == "sriovctl":
            found += [f"--run-dir={self._programs.run_dir}", f"--kubelet-root-dir={self._folder}/kubelet"]
            found += [f"--cni-bin={self.bin}"]
            named = {each["name"]: each.get("value") for each in self._told["sriovctl"]}
            found += [f"--resource-prefix={named['SRIOVCTL_RESOURCE_PREFIX']}"]
        return found


def _is_ours(pod: Object) -> bool:
    return bool(pod["metadata"].get("ownerReferences"))


def _namespace(pod: Object) -> str:
    return f"pod-{pod['metadata']['uid'][:8]}"


def _program(command: list[str]) -> list[str]:
    return [sys.executable, "-m", _PROGRAMS[command[0]], *command[1:]]


def _ended(command: list[str], sent: str) -> Ended:
    done = subprocess.run(command, cwd=rendering.ROOT, input=sent, capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def _ran(command: list[str]) -> tuple[str, int]:
    """Run the command; returns its output and its exit status."""
    done = subprocess.run(command, cwd=rendering.ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode
