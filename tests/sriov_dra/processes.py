"""The driver as a process of its own, on a built node with two PFs, beside a stand-in API server and kubelet."""

import asyncio
import contextlib
import json
import pathlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from sriov import devices, settings
from sriov.hardware import sysfs
from sriov.state import attached_vfs, grants, ledger
from tests.deviceplugin import loops
from tests.fakes import sysfs_tree
from tests.sriov_agent import processes as agents
from tests.sriov_agent.cluster import Json
from tests.sriov_dra import hooks
from tests.sriov_dra.apiserver import ApiServer
from tests.sriov_dra.claims import claims
from tests.sriov_dra.kubelet import NEW, Kubelet

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = [{"resourceName": "rail_a", "publish": "dra", "checkHealthOnPf": True}]
PF = devices.pci_address("0000:01:00.0")
VFS = [devices.pci_address(f"0000:01:10.{number}") for number in (0, 2, 4)]
NAMES = ["0000-01-10-0", "0000-01-10-2", "0000-01-10-4"]


class Node:
    """A node whose PF has 3 VFs. Everything is below `root`; `driver` starts the process."""

    def __init__(
        self, root: pathlib.Path, versions: tuple[str, ...] = NEW, sys: sysfs_tree.SysfsTree | None = None
    ) -> None:
        self.root = root
        self.sys = sys or sysfs_tree.SysfsTree(root / "sys")
        if sys is None:
            self.sys.add_pf(PF, sysfs.Netdev("enp1s0", 2, "52:54:00:00:00:01", 1500), numvfs=3)
        self.api = ApiServer(claims.NODE)
        self.kubelet = Kubelet(root / "k", self.api, claims.NODE, versions)
        self.book = ledger.Ledger(root / "run")
        self.book.create()
        self.grants = grants.Grants(root / "run")
        self.configure(*CONFIG)

    def configure(self, *entries: object) -> None:
        (self.root / "etc").mkdir(exist_ok=True)
        draft = self.root / "etc/.config"
        draft.write_text(json.dumps({"resourceList": entries}))
        draft.rename(self.root / "etc/config.json")

    async def claim(self, *results: Json, **other: Any) -> tuple[str, str]:
        """Put an allocated claim; returns its namespace and name."""
        made = claims.claim(*(results or (claims.result(),)), **other)
        await self.api.put(made)
        return made["metadata"]["namespace"], made["metadata"]["name"]

    def hold(self, pci: devices.PciAddress, problem: str = "") -> None:
        """The CNI has the VF in a pod."""
        owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns="", namespace="ml", pod="train-0")
        self.book.write(
            ledger.Record(
                pci=pci, owner=owner, netns=(0, 0), home=None, wanted=settings.BASELINE, mtu=1500, problem=problem
            )
        )

    def attach(self, pci: devices.PciAddress, *addresses: str, claim: str = "claim-uid") -> None:
        """An ADD has ended: the CNI notes what the pod has once the VF is in it."""
        self.hold(pci)
        noted = attached_vfs.AttachedVf(
            pci=pci, claim=claim, container_id="c1", ifname="net1", mac="02:00:00:00:00:01", addresses=addresses
        )
        attached_vfs.AttachedVfs(self.root / "run").write(noted)

    def specs(self) -> dict[str, Json]:
        """CDI devices by qualified name."""
        found = [json.loads(path.read_bytes()) for path in sorted((self.root / "cdi").glob("*.json"))]
        return {f"{spec['kind']}={each['name']}": each["containerEdits"] for spec in found for each in spec["devices"]}

    def published(self) -> list[str]:
        """Names of the devices in slices of the newest generation, with taints behind a colon."""
        found = [each for slice_ in self.api.slices for each in slice_["spec"]["devices"]]
        return [":".join([each["name"], *(one["key"] for one in each.get("taints", []))]) for each in found]

    def hook(self) -> pathlib.Path:
        """The claim hook's program."""
        return hooks.program()

    @property
    def log(self) -> str:
        return (self.root / "driver.log").read_text()

    @contextlib.asynccontextmanager
    async def driver(
        self, port: int, *flags: str, before: Sequence[str] = (), in_pod: bool = False
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        root = self.root
        folders = {"procfs": "proc", "dev": "dev", "run-dir": "run", "cdi-dir": "cdi"}
        folders |= {"cni-conf-dir": "net.d", "kubelet-root-dir": "k", "config-file": "etc/config.json"}
        paths = [
            f"--sysfs={self.sys.root}",
            f"--claim-hook={self.hook()}",
            *(f"--{name}={root / path}" for name, path in folders.items()),
        ]
        command = [
            *(*before, sys.executable, "-P", "-W", "error", "-m", "sriov_dra", f"--node={claims.NODE}"),
            *(f"--service-account-dir={root}" if in_pod else agents.kubeconfig(root, port), *paths, *flags),
        ]
        pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)} if in_pod else {}
        with (root / "driver.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), **pod}, stderr=log
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def on_node(
    root: pathlib.Path,
    body: Callable[[Node], Coroutine[object, object, None]],
    *flags: str,
    versions: tuple[str, ...] = NEW,
) -> None:
    """Run `body` beside a driver that is registered and has published."""

    async def whole() -> None:
        node = Node(root, versions)
        await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
        async with node.api.serving() as port, node.kubelet.running(), node.driver(port, *flags):
            await node.kubelet.until_registered()
            await loops.until(lambda: bool(node.published()), 30)
            await body(node)
            await node.kubelet.stop()  # before the driver: what gRPC does about a lost peer takes its time
        assert "Traceback" not in node.log
        assert node.api.refused == []

    loops.run(whole(), 90)
