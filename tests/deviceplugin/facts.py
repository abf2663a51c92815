"""VFs and pools for tests that need no tree."""

from deviceplugin import pools
from sriov import devices, inventory


def vf(index: int = 0, pf: str = "0000:01:00.0", pf_netdev: str | None = "enp1s0", **other: object) -> devices.VF:
    """VF `index` of an Intel 82576, on the same bus as its PF, in a pod; `other` are fields of its own."""
    slot = 16 * 8 + index
    fields: dict[str, object] = {
        "pci": devices.PciAddress(f"{pf[:7]}:{slot >> 3:02x}.{slot & 7}"),
        "pf": devices.PciAddress(pf),
        "pf_netdev": pf_netdev,
        "index": index,
        "vendor": "8086",
        "device": "10ca",
        "driver": "igbvf",
        "netdev": None,
        "numa_node": None,
        "link_type": devices.LinkType.ETHER,
    }
    return devices.VF(**(fields | other))  # type: ignore[arg-type]


def node(*vfs: devices.VF) -> inventory.Inventory:
    return inventory.Inventory({}, {one.pci: one for one in vfs})


def pool(*members: pools.Device, name: str = "a") -> pools.Pool:
    return pools.Pool("intel.com", name, members)


def device(number: int = 0, health: pools.Health = pools.Health.HEALTHY, numa_node: int | None = None) -> pools.Device:
    return pools.Device(f"0000:01:{number >> 3:02x}.{number & 7}", health, numa_node)
