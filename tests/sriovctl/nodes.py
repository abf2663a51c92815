"""A whole node in memory for sriovctl, hardware, ledger, daemon, kubelet, configuration; and the program run on it."""

import contextlib
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import click.testing

from sriov import errors
from sriov.cluster import policies, policy_changes
from sriov.linux import kernel
from sriov.state import call_log, daemon_problems, policy_notes
from sriov_cni.context import calls, claims, policy
from sriov_cni.dataplane.policies import policy_enforcer, reception
from sriovctl import app
from sriovctl.node.policies import standing
from tests.fakes import bench, memory_kernel, pod_resources, policy_source, procfs
from tests.sriov_cni import harness

RAIL = "intel.com/rail_a"
CONFIG = [{"resourceName": "rail_a", "checkHealthOnPf": True, "selectors": {"pfNames": ["enp1s0"]}}]
IPAM = '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5/24"}]}'
FULL = '{"code":1,"msg":"no IP addresses available in range set: 10.1.0.1-10.1.0.6"}'


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """How sriovctl ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str, answers: str = "", enter: standing.Enter | None = None) -> Ran:
    """The program, in this process. `answers` are what a person types."""
    with click.testing.CliRunner().isolation(answers) as (out, err, _):
        status = app.main(arguments, enter)
        sys.stdout.flush()
        sys.stderr.flush()
        return Ran(status, out.getvalue().decode(), err.getvalue().decode())


class Node:
    """`folder` holds all of it. The daemon runs while `serving`, the kubelet while `kubelet`."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.bench = bench.make(folder)
        self.proc = procfs.Procfs(folder / "proc")
        self.api = pod_resources.PodResources({})
        self.plugins = folder / "bin"
        self.translation: calls.Translation | None = None
        self.policies: policy_source.TableSource | None = None
        self.enforcement: calls.Enforcement = policy_enforcer.Enforcer(self.bench.node.kernel)
        harness.ipam_plugin(self.plugins, "fixed", f"[ $CNI_COMMAND != ADD ] || echo '{IPAM}'")
        harness.ipam_plugin(self.plugins, "full", f"[ $CNI_COMMAND != ADD ] || {{ echo '{FULL}'; exit 1; }}")
        (folder / "kubelet/pod-resources").mkdir(parents=True)
        (folder / "kubelet/device-plugins").mkdir()
        for name in ("dev", "etc", "boot", "somerun", "net.d"):
            (folder / name).mkdir()
        self.configure(CONFIG)

    @property
    def vf(self) -> str:
        return self.bench.vfs[0]

    @property
    def places(self) -> list[str]:
        """The options that make sriovctl look here and nowhere else."""
        named = {
            **{name: name for name in ("dev", "etc", "boot", "proc", "kubelet")},
            "sysfs": "sys",
            "run": "somerun",
            "run-dir": "run",
            "config": "config.json",
            "policy": "policy.json",
            "policy-snapshot": "policies",
            "predecessor-dir": "cache",
            "cni-bin": "bin",
            "cni-conf": "net.d",
        }
        return [f"--{name}={self.folder / path}" for name, path in named.items()]

    def configure(self, resources: object) -> None:
        (self.folder / "config.json").write_text(json.dumps({"resourceList": resources}))

    def run(self, *arguments: str, answers: str = "") -> Ran:
        return run(*self.places, *arguments, answers=answers, enter=self.enter)

    @contextlib.contextmanager
    def enter(self, path: str, identity: tuple[int, int]) -> Iterator[kernel.Kernel]:
        """The kernel in memory has no namespace that a process could enter."""
        status = pathlib.Path(path).stat()
        if (status.st_dev, status.st_ino) != identity:
            raise errors.NetnsError(f"{path} is another namespace by now", "is the pod gone?")
        yield memory_kernel.MemoryKernel(self.bench.machine, identity)

    def put_policies(self, table: policies.PolicyTable) -> None:
        """What the agent has sent, as the daemon writes it down."""
        self.policies = policy_source.TableSource(table)
        reception.kept(self.folder / "policies").write(policy_changes.whole(table))

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """With the CNI daemon, its policy and its record of recent calls."""
        run_dir = self.folder / "run"
        further: dict[str, Any] = {
            "guard": policy.Guard(self.folder / "policy.json"),
            "claims": claims.PodClaims(run_dir),
            "calls_log": call_log.Recent(run_dir),
            "troubles": daemon_problems.Trouble(run_dir),
            "translation": self.translation,
        }
        if self.policies is not None:
            further |= {
                "policies": self.policies,
                "enforcement": self.enforcement,
                "notes": policy_notes.NoteFile(run_dir),
            }
        made = self.bench
        with harness.daemon(made.node, made.book, run_dir / "cni.sock", made.machine.adopt, **further):
            yield

    @contextlib.contextmanager
    def kubelet(self) -> Iterator[None]:
        with pod_resources.serving(self.folder / "kubelet/pod-resources/kubelet.sock", self.api):
            yield

    def give(self, pod: str, *devices: str, resource: str = RAIL) -> None:
        """The kubelet has given these to the pod; it knows every VF of the resource."""
        self.api.known.setdefault(resource, list(self.bench.vfs))
        self.api.pods["default", pod] = [[(resource, list(devices))]]

    def cni(self, command: str, pod: str = "web", **keys: object) -> harness.Answer:
        """What a runtime does for the pod's interface net1.

        The call is written down when the shim has gone, and that is waited for.
        """
        calls = call_log.Recent(self.folder / "run")
        before = len(calls.read())
        client = harness.Client(self.folder / "run/cni.sock", str(self.plugins), self.bench.machine.path("pod"))
        arguments = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}"
        network = harness.configuration(self.vf, **keys)
        answer = client.call(command, network, CONTAINERID=f"{pod}-sandbox", ARGS=arguments)
        deadline = time.monotonic() + 10
        while len(calls.read()) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        return answer

    def attached_by_sriov_cni(self, **keys: object) -> pathlib.Path:
        """The VF is in the pod's namespace, as sriov-cni leaves it and writes it down; returns its file."""
        with self.bench.node.kernel() as net:
            net.move(net.link("enp1s0v0").index, self.bench.pod, "net1")
        original = {"HostIFName": "enp1s0v0", "EffectiveMAC": "02:00:00:02:00:00", "MTU": 1500}
        written = {"cniVersion": "1.0.0", "name": "n1", "type": "sriov", "deviceID": self.vf, "OrigVfState": original}
        (self.folder / "cache/pci").mkdir(parents=True)
        (self.folder / "cache/pci" / self.vf).write_text(self.bench.machine.path("pod"))
        path = self.folder / "cache/0ab34567890123456-net1"
        path.write_text(json.dumps({**written, **keys}))
        return path

    def close(self) -> None:
        self.bench.pod.close()
        self.bench.machine.close()
