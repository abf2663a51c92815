"""Mock node without SR-IOV hardware: a namespace as its host, veths as VFs in it, and a sysfs tree that shows them.

Processes of the node are started in it: `command()`. Nothing of it outlives close().
"""

import json
import pathlib
import subprocess
import uuid
from collections.abc import Sequence

from sriov import devices, polling, settings
from sriov.hardware import sysfs
from tests.fakes import mock_kernel

_PATIENCE = 30.0  # seconds: the kernel ends a namespace when it has time


class MockNode:
    """`folder` gets the sysfs tree and the PFs' memory; PFs are called enp1s0, enp2s0 or by `names`.

    Needs root and iproute2.
    """

    def __init__(self, folder: pathlib.Path, pfs: int = 2, vfs: int = 7, names: Sequence[str] = ()) -> None:
        self.folder = folder
        self.name = f"sriov-host-{uuid.uuid4().hex[:8]}"
        self.state = mock_kernel.State(folder)
        _ip("netns", "add", self.name)
        for number, name in enumerate(names or [f"enp{number}s0" for number in range(1, pfs + 1)], 1):
            self._add_pf(name, f"0000:{number:02x}:00.0", vfs)

    @property
    def sysfs_root(self) -> pathlib.Path:
        return self.folder / "sys"

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs in the node."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def vf_settings(self, pci: str) -> settings.VfSettings:
        """Return the VF as its PF shows it."""
        return self.state.read()[pci].state

    def netdev(self, pci: str) -> sysfs.Netdev | None:
        """The VF's netdev in the host."""
        return self.state.tree.tree.netdev(devices.pci_address(pci))

    def bring_home(self, pci: str, name: str, address: str) -> None:
        """Do what the kernel does with a VF whose namespace is gone, and cannot do with a veth.

        It removes the veth in the background, in its own time.
        """
        far = self.state.read()[pci].far
        assert polling.until(lambda: not self._has(far), bool, _PATIENCE), f"{far} outlives its pod's namespace"
        with self.state.changing() as vfs:
            vf = vfs[pci]
            self._add_veths([(name, vf.far, address)])
            indices = self._numbers()
            vf.index, vf.far_index, vf.where = indices[name], indices[vf.far], "home"
            vlan = vf.state.vlan
        subprocess.run(self.command("ip", "link", "set", vf.far, "master", f"vlan{vlan}", "up"), check=True)
        self.state.tree.set_netdev(devices.pci_address(pci), sysfs.Netdev(name, vf.index, address, 1500))

    def close(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    def _add_pf(self, name: str, pci: str, vfs: int) -> None:
        _ip("-n", self.name, "link", "add", name, "type", "bridge")
        index = self._numbers()[name]
        tree = self.state.tree
        pf = tree.add_pf(pci, sysfs.Netdev(name, index, f"52:54:00:00:00:{index:02x}", 1500))
        names = [(f"{name}v{number}", f"{name}f{number}") for number in range(vfs)]
        addresses = [f"02:00:00:{index:02x}:00:{number:02x}" for number in range(vfs)]
        self._add_veths([(*each, address) for each, address in zip(names, addresses, strict=True)])
        indices = self._numbers()
        with self.state.changing() as known:
            for number, vf in enumerate(tree.set_numvfs(pf, vfs)):
                (netdev, far), address = names[number], addresses[number]
                own = indices[netdev]
                known[vf] = mock_kernel.Vf(
                    pf=index, vf=number, far=far, index=own, far_index=indices[far], address=address
                )
                tree.set_netdev(vf, sysfs.Netdev(netdev, own, address, 1500))

    def _add_veths(self, wanted: Sequence[tuple[str, str, str]]) -> None:
        """Make one for each name, name of the other end, and address."""
        lines = [f"link add {name} address {address} type veth peer name {far}" for name, far, address in wanted]
        command = ["ip", "-n", self.name, "-batch", "-"]
        subprocess.run(command, input="\n".join(lines), text=True, check=True)

    def _has(self, name: str) -> bool:
        command = ["ip", "-n", self.name, "link", "show", name]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _numbers(self) -> dict[str, int]:
        shown = subprocess.run(["ip", "-n", self.name, "-json", "link", "show"], check=True, capture_output=True)
        return {each["ifname"]: int(each["ifindex"]) for each in json.loads(shown.stdout)}


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
