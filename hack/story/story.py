"""Story of the demo, step by step: from PFs in sysfs to four pods on the wire, and every VF back as it was.

Each step prints what happens and notes what it saw in the report. A False in the report is a failed demo.
"""

import time
from typing import Any

from hack.story import hostile
from hack.story import node as nodes
from hack.story import stage as stages
from hack.story.pods import Pod
from hack.story.terminal import Terminal
from sriov import devices
from sriov.hardware import inventory

PREFIX = "demo.io"
RED, BLUE = 100, 200
_REGISTERED = 60  # seconds


class Story:
    """One run. `report` holds what was seen so far."""

    def __init__(self, stage: stages.Stage, node: nodes.Node, terminal: Terminal) -> None:
        self._stage = stage
        self._node = node
        self._terminal = terminal
        self._pods: dict[str, Pod] = {}
        self.report: dict[str, Any] = {}

    def tell(self) -> None:
        """Run all steps. Raises StoryError if the story cannot go on."""
        self._terminal.title(f"Pods on real VFs. The stage: {self._stage.title}")
        steps = (
            *(self.find, self.register, self.allocate, self.attach, self.ping),
            *(self.lose_a_namespace, self.outlive_a_hostile_pod, self.delete),
        )
        try:
            self._start, self._links = stages.snapshot(self._stage), hostile.links(self._stage)
            for step in steps:
                step()
        finally:
            for pod in self._pods.values():
                pod.destroy()

    def find(self) -> None:
        self._terminal.step("PFs and VFs found in sysfs")
        found = inventory.scan(self._stage.tree)
        self.report["pfs_discovered"] = len(found.pfs)
        self.report["vfs_discovered"] = len(found.vfs)
        rows = []
        for pf in found.pfs.values():
            vfs = [vf for vf in found.vfs.values() if vf.pf == pf.pci]
            span = f"{vfs[0].pci} … {vfs[-1].pci}" if vfs else "none"
            rows.append(
                (pf.pci, pf.netdev, pf.driver, f"{pf.numvfs}/{pf.totalvfs}", span, vfs[0].driver if vfs else "")
            )
        self._terminal.table(("PF", "netdev", "driver", "VFs", "addresses", "VF driver"), rows)
        if len(found.pfs) < 2 or any(pf.netdev is None for pf in found.pfs.values()):
            raise nodes.StoryError("the story needs two PFs with their netdevs")

    def register(self) -> None:
        self._terminal.step("Resources registered with the kubelet")
        pfs = [pf.netdev for pf in inventory.scan(self._stage.tree).pfs.values()]
        names = ("rail_a", "rail_b")
        resources = [
            {"resourceName": name, "resourcePrefix": PREFIX, "selectors": {"pfNames": [pf], "drivers": ["igbvf"]}}
            for name, pf in zip(names, pfs, strict=False)
        ]
        self._node.start_kubelet()
        self._node.start_device_plugin({"resourceList": resources})
        rows = []
        for name, pf in zip(names, pfs, strict=False):
            seen = self._node.ask_kubelet(do="wait", resource=f"{PREFIX}/{name}", devices=7, timeout=_REGISTERED)
            rows.append((f"{PREFIX}/{name}", pf, len(seen)))
        self.report["resources_registered"] = len(rows)
        self._terminal.table(("resource", "PF", "healthy devices at the kubelet"), rows)

    def allocate(self) -> None:
        self._terminal.step("VFs allocated to four pods")
        for number, (name, rail, vlan) in enumerate(
            (("red-1", "rail_a", RED), ("red-2", "rail_a", RED), ("red-3", "rail_b", RED), ("blue-1", "rail_a", BLUE))
        ):
            pod = Pod(name, f"{PREFIX}/{rail}", vlan, f"02:00:00:de:00:{number:02x}")
            answer = self._node.ask_kubelet(do="allocate", pod=name, resource=pod.resource, count=1)
            pod.envs = answer["envs"]
            self._pods[name] = pod
        rows = [(pod.name, pod.resource, *_variable(pod)) for pod in self._pods.values()]
        self._terminal.table(("pod", "resource", "environment", "value"), rows)

    def attach(self) -> None:
        self._terminal.step("VFs attached: MAC, VLAN, and an address from host-local")
        self._node.start_cni_daemon()
        rows, macs, vlans, times = [], [], [], []
        for pod in self._pods.values():
            pod.create()
            started = time.monotonic()
            pod.attach(self._node)
            times.append(round((time.monotonic() - started) * 1000))
            link, vf = pod.link(), self._vf(pod)
            found = self._stage.vf_settings(vf)
            macs.append(link.address == pod.mac and link.up)
            vlans.append(found.vlan == pod.vlan)
            rows.append((pod.name, pod.vf, link.name, link.address, found.vlan, pod.address, f"{times[-1]} ms"))
        self.report |= {"pods_attached": len(rows), "mac_applied": all(macs), "vlan_applied": all(vlans)}
        self.report["attach_ms"] = times
        headings = ("pod", "VF", "interface", "MAC in the pod", "VLAN at the PF", "address", "ADD took")
        self._terminal.table(headings, rows)
        self._terminal.fact(all(macs), "each MAC is on the netdev in the pod")
        self._terminal.fact(all(vlans), "each VLAN is on the VF, read from its PF")

    def ping(self) -> None:
        self._terminal.step("Traffic")
        red_1, red_2, red_3, blue_1 = self._pods.values()
        same, cross = red_1.pings(red_2), red_1.pings(red_3)
        blocked = not red_1.pings(blue_1)
        self._terminal.fact(same, f"{red_1.name} → {red_2.name}: same VLAN, same PF: an answer")
        self._terminal.fact(cross, f"{red_1.name} → {red_3.name}: same VLAN, across two PFs: an answer")
        self._terminal.fact(blocked, f"{red_1.name} → {blue_1.name}: another VLAN: no answer")
        self.report |= {"ping_same_vlan": same, "ping_cross_pf": cross, "ping_other_vlan_blocked": blocked}

    def lose_a_namespace(self) -> None:
        self._terminal.step("red-2 dies without a DEL: its namespace is destroyed, then the DEL comes")
        pod = self._pods["red-2"]
        vf = self._vf(pod)
        pod.destroy()
        self._stage.after_namespace_death(vf.pci, "net1", pod.mac)
        stranded = self._wait_for_netdev(vf)
        found = self._stage.vf_settings(vf)
        self._terminal.tell(f"the kernel brought it home as {stranded}, MAC {pod.mac}, still on VLAN {found.vlan}")
        pod.detach(self._node, netns_path="")
        restored = self._is_as_at_start(vf)
        now = stages.snapshot(self._stage)[vf.pci]
        self._terminal.fact(restored, f"after DEL: {now.name}, MAC {now.address}, VLAN {now.settings.vlan}")
        self.report["restored_after_netns_death"] = restored

    def outlive_a_hostile_pod(self) -> None:
        self._terminal.step("blue-1 is root in its namespace, and does its worst to its VF; then it is deleted")
        pod = self._pods["blue-1"]
        vf, name = self._vf(pod), str(self._start[pod.vf].name)
        before = hostile.links(self._stage).keys()
        for sentence, command in hostile.misdeeds(name):
            done = hostile.do(pod.namespace, command)
            self._terminal.tell(f"it {sentence}{'' if done else ' (the kernel refuses)'}")
        pod.detach(self._node)
        now = hostile.links(self._stage)
        changed = hostile.changed(self._links[name], now.get(name, {}))
        strangers = sorted(now.keys() - before - {name})
        self._terminal.fact(not changed, f"after DEL: {name} is home, and each setting of it is as at the start")
        self._terminal.fact(not strangers, "no link of the pod's came with it")
        for each in (*changed, *strangers):
            self._terminal.tell(f"{each} should not be so")
        self.report["clean_after_hostile_pod"] = self._is_as_at_start(vf) and not changed and not strangers

    def delete(self) -> None:
        self._terminal.step("All pods deleted")
        for pod in self._pods.values():
            pod.detach(self._node)
            self._node.ask_kubelet(do="free", pod=pod.name)
        end = stages.snapshot(self._stage)
        different = [pci for pci, at_start in self._start.items() if end.get(pci) != at_start]
        self.report["restored_after_del"] = not different
        self._terminal.fact(
            not different, f"all {len(end)} VFs are as at the start: name, MAC, MTU, VLAN, QoS, trust, rates"
        )
        for pci in different:
            self._terminal.tell(f"{pci} was {self._start[devices.pci_address(pci)]}, is {end.get(pci)}")

    def _vf(self, pod: Pod) -> devices.VF:
        return inventory.lookup(self._stage.tree, devices.pci_address(pod.vf))

    def _wait_for_netdev(self, vf: devices.VF) -> str:
        """Wait: the kernel dismantles namespaces in the background."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if name := self._stage.tree.netdev_name(vf.pci):
                return name
            time.sleep(0.05)
        raise nodes.StoryError(f"VF {vf.pci} did not come back to the host")

    def _is_as_at_start(self, vf: devices.VF) -> bool:
        return stages.snapshot(self._stage)[vf.pci] == self._start[vf.pci]


def _variable(pod: Pod) -> tuple[str, str]:
    return next((key, value) for key, value in pod.envs.items() if not key.endswith("_INFO"))
