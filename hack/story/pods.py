"""Pods, as far as a network is concerned: a namespace, an attachment, and a ping inside."""

import dataclasses
import subprocess
import uuid
from typing import Any

from hack.story import node as nodes
from sriov.linux import kernel, netlink, netns

SUBNET = "10.56.217.0/24"


@dataclasses.dataclass(slots=True)
class Pod:
    """A pod. `envs` is the kubelet's answer for its container; `result` the CNI's."""

    name: str
    resource: str
    vlan: int
    mac: str
    envs: dict[str, str] = dataclasses.field(default_factory=dict)
    result: Any = None
    namespace: str = dataclasses.field(default_factory=lambda: f"pod-{uuid.uuid4().hex[:8]}")

    @property
    def vf(self) -> str:
        """Return the PCI address from the container's environment."""
        return next(value for key, value in self.envs.items() if not key.endswith("_INFO"))

    @property
    def path(self) -> str:
        return f"/run/netns/{self.namespace}"

    @property
    def address(self) -> str:
        """Return the address without the prefix length."""
        return str(self.result["ips"][0]["address"]).split("/")[0]

    def network(self, leases: str) -> dict[str, object]:
        """Return the network configuration that a runtime passes for it."""
        ipam = {"type": "host-local", "dataDir": leases, "ranges": [[{"subnet": SUBNET}]]}
        return {
            "cniVersion": "1.0.0",
            "name": "story",
            "type": "sriov",
            "deviceID": self.vf,
            "vlan": self.vlan,
            "mac": self.mac,
            "spoofchk": "on",
            "ipam": ipam,
        }

    def create(self) -> None:
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)

    def destroy(self) -> None:
        subprocess.run(["ip", "netns", "del", self.namespace], check=False, capture_output=True)

    def attach(self, node: nodes.Node) -> None:
        self.result = node.cni("ADD", self.network(node.addresses), self.name, self.path)

    def detach(self, node: nodes.Node, netns_path: str | None = None) -> None:
        """Detach; `netns_path` "" is what a runtime passes when the namespace is gone."""
        path = self.path if netns_path is None else netns_path
        node.cni("DEL", self.network(node.addresses), self.name, path)

    def link(self) -> kernel.Link:
        """Return the interface as the kernel shows it inside the pod."""
        with netns.open_path(self.path) as namespace, netns.entered(namespace):
            net = netlink.Netlink()
        try:
            return net.link("net1")
        finally:
            net.close()

    def pings(self, other: "Pod") -> bool:
        """Report whether an echo comes back; a switch may need the first second to learn where `other` is."""
        ping = ["ping", "-c", "3", "-i", "0.3", "-W", "2", "-q", other.address]
        inside = ["ip", "netns", "exec", self.namespace, *ping]
        return subprocess.run(inside, check=False, capture_output=True).returncode == 0
