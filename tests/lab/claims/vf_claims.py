"""Claims of the guest's VFs: the real DRA driver and the real CNI on real igb, stand-ins for API server and kubelet."""

import asyncio
import contextlib
import pathlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from sriov_cni.context import claims as pod_claims
from tests.deviceplugin import loops
from tests.kernel import namespaces, test_claims
from tests.lab import cnis, igb
from tests.sriov_agent.cluster import Json
from tests.sriov_cni import harness
from tests.sriov_dra import processes
from tests.sriov_dra.claims import claims

PATIENCE = 120.0  # seconds: the guest's CPU is emulated
POOL = "worker-1/intel.com/igb"


class GuestNode(processes.Node):
    """The guest for a driver that gets its own /sys, /proc and /dev, and a runtime that calls the CNI's shim."""

    def __init__(self, root: pathlib.Path) -> None:
        super().__init__(root)
        selectors = {"rootDevices": [str(igb.PF0)]}
        self.folder = root
        self.configure({"resourceName": "igb", "publish": "dra", "checkHealthOnPf": True, "selectors": selectors})

    def hook(self) -> pathlib.Path:
        """No container runs here, and to compile takes minutes: tests/kernel/test_claim_hook.py has the real one."""
        path = self.root / "hook"
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def command(self, *command: str) -> tuple[str, ...]:
        return command

    async def cni(
        self, command: str, pod: str, place: namespaces.Namespace, index: int, ifname: str = "net1", **keys: object
    ) -> harness.Answer:
        """A call as Multus makes it, which has read the claim's device in its slice. The pod's UID is its name with
        -uid."""
        ranges = [[{"subnet": cnis.SUBNET}]]
        ipam = {"type": "host-local", "dataDir": str(self.root / "leases"), "ranges": ranges}
        network = harness.configuration(igb.vf(index).pci, cniVersion="1.0.0", ipam=ipam, **keys)
        who = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME={pod};K8S_POD_UID={pod}-uid"
        client = harness.Client(self.root / "run/cni.sock", "/usr/lib/cni", place.path)
        return await asyncio.to_thread(client.call, command, network, CONTAINERID=f"c-{pod}", ARGS=who, IFNAME=ifname)

    async def runs(self, command: str, *runtimes: test_claims.Runtime) -> list[int]:
        """What each runtime's list of plugins ends with."""
        return [await asyncio.to_thread(each.run, command) for each in runtimes]

    def runtime(self, network: str, pod: str, place: namespaces.Namespace) -> test_claims.Runtime:
        """For the list of that name in docs/dra.md."""
        return test_claims.Runtime(self, test_claims.listed(network), f"{pod}-uid", place, "python")


def name(index: int) -> str:
    """The device in its slice."""
    return str(igb.vf(index).pci).replace(":", "-").replace(".", "-")


def claim(letter: str, index: int, *pods: str, **keys: Any) -> Json:
    """An allocated claim, u-LETTER, for these pods, made of the first one's template. `keys` are a VfNetwork's."""
    made = claims.claim(
        {**claims.result(name(index)), "pool": POOL},
        configs=[claims.config(claims.parameters(**keys))],
        uid=f"u-{letter}",
        name=letter,
        ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": pods[0], "uid": f"{pods[0]}-uid"}],
    )
    made["status"]["reservedFor"] = [{"resource": "pods", "name": each, "uid": f"{each}-uid"} for each in pods]
    return made


def on_guest(folder: pathlib.Path, body: Callable[[GuestNode], Coroutine[object, object, None]]) -> None:
    """Run `body` beside a driver that is registered and has published seven VFs, and the CNI's daemon."""
    with _cni(folder):
        loops.run(_with_driver(folder, body), 5 * PATIENCE)


@contextlib.contextmanager
def _cni(folder: pathlib.Path) -> Iterator[None]:
    with igb.host(folder) as (here, book):
        granted = pod_claims.PodClaims(folder / "run")
        with harness.daemon(here, book, folder / "run/cni.sock", claims=granted):
            yield


async def _with_driver(folder: pathlib.Path, body: Callable[[GuestNode], Coroutine[object, object, None]]) -> None:
    node = GuestNode(folder)
    await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
    places = ("--sysfs=/sys", "--procfs=/proc", "--dev=/dev")
    async with node.api.serving() as port, node.kubelet.running(), node.driver(port, *places):
        await node.kubelet.until_registered(PATIENCE)
        await loops.until(lambda: len(node.published()) == 7, PATIENCE)
        await body(node)
        await node.kubelet.stop()  # before the driver: what gRPC does about a lost peer takes its time
    assert "Traceback" not in node.log
    assert node.api.refused == []
