"""Devices, pools and settings for tests that need no tree."""

import contextlib
import json
import pathlib
from collections.abc import Iterator

from deviceplugin import device_files
from sriov import devices
from sriov.hardware import ddp, discovery, node_devices, sysfs
from sriov.pools import assignment, config, resources
from tests.fakes import procfs, sysfs_tree

SETTINGS = resources.Resource("intel.com", "a")
NOWHERE = device_files.FilePlaces(pathlib.Path("/proc/nowhere"), pathlib.Path("/proc/nowhere"))
"""No file can be written there."""


def vf(
    index: int = 0, pf: str = "0000:01:00.0", pf_netdev: str | None = "enp1s0", **other: object
) -> node_devices.Candidate:
    """VF `index` of an Intel 82576, on the same bus as its PF, in a pod; `other` are fields of its own."""
    slot = 16 * 8 + index
    address = f"{pf[:7]}:{slot >> 3:02x}.{slot & 7}"
    fields: dict[str, object] = {
        "id": address,
        "role": node_devices.Role.VF,
        "pci": devices.PciAddress(address),
        "pf": devices.PciAddress(pf),
        "pf_netdev": pf_netdev,
        "index": index,
        "vendor": "8086",
        "device": "10ca",
        "driver": "igbvf",
        "link_type": devices.LinkType.ETHER,
    }
    return node_devices.Candidate(**(fields | other))  # type: ignore[arg-type]


def node(*listed: node_devices.Candidate, shared: frozenset[str] = frozenset()) -> node_devices.Catalog:
    return node_devices.Catalog({one.id: one for one in listed}, shared)


def pool(*members: assignment.Device, name: str = "a") -> assignment.Pool:
    return assignment.Pool(resources.Resource("intel.com", name), members)


def device(number: int = 0, ailment: str | None = None, numa_node: int | None = None) -> assignment.Device:
    one = vf(number, id=f"0000:01:{number >> 3:02x}.{number & 7}")
    return assignment.Device(one.id, one, numa_node=numa_node, ailment=ailment)


class Machine:
    """A built node: a sysfs and a procfs below a folder, and what devlink says of its NICs' DDP profiles."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.sys = sysfs_tree.SysfsTree(root / "sys")
        self.proc = procfs.Procfs(root / "proc")
        self.ddp: dict[devices.PciAddress, str] = {}

    def catalog(self) -> node_devices.Catalog:
        return discovery.scan(self.sys.tree, self.proc.root, self.root / "dev")

    @contextlib.contextmanager
    def devlink(self) -> Iterator[ddp.Ask]:
        yield self.ddp.get

    def deal(self, *entries: object) -> dict[str, list[str]]:
        """Which device goes where, by the entries of a resourceList."""
        return {pool.settings.name: [device.id for device in pool.devices] for pool in self.pools(*entries)}

    def pools(self, *entries: object) -> tuple[assignment.Pool, ...]:
        configuration = config.parse(json.dumps({"resourceList": entries}).encode(), "config.json", "intel.com")
        catalog = self.catalog()
        if configuration.asks_for_profiles:
            catalog, _ = ddp.fill_in(catalog, self.devlink)
        return assignment.assign(catalog, configuration)


PF0 = sysfs.Netdev("enp1s0", 2, "52:54:00:00:00:01", 1500)
PF1 = sysfs.Netdev("enp2s0", 3, "52:54:00:00:00:02", 1500)
