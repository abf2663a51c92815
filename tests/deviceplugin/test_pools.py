"""Which VF ends up in which pool, on facts and on a tree."""

import dataclasses
import pathlib

import hypothesis
from hypothesis import strategies

from deviceplugin import conf, pools, selectors
from sriov import devices, inventory, sysfs
from tests.deviceplugin import facts
from tests.fakes import sysfs_tree

EVERY = conf.Resource("intel.com", "every")
NONE = conf.Resource("intel.com", "none", ())


def listing(name: str, *indices: int) -> conf.Resource:
    wanted = selectors.Functions("enp1s0", tuple((index, index) for index in indices))
    return conf.Resource("intel.com", name, (selectors.Selector(pf_names=(wanted,)),))


def assign(found: inventory.Inventory, *resources: conf.Resource) -> dict[str, list[str]]:
    dealt = pools.assign(found, conf.Configuration(resources))
    return {pool.name: [device.id for device in pool.devices] for pool in dealt}


def test_the_first_pool_wins() -> None:
    found = facts.node(*(facts.vf(index) for index in range(3)))
    assert assign(found, listing("a", 1), EVERY) == {"a": ["0000:01:10.1"], "every": ["0000:01:10.0", "0000:01:10.2"]}
    assert assign(found, EVERY, listing("a", 1)) == {"every": list(found.vfs), "a": []}


def test_a_pool_without_devices_is_there_all_the_same() -> None:
    assert assign(facts.node(), EVERY) == {"every": []}
    assert assign(facts.node(facts.vf()), NONE) == {"none": []}


@hypothesis.given(strategies.lists(strategies.frozensets(strategies.integers(0, 7), min_size=1), max_size=5))
def test_d23_a_vf_is_in_the_first_pool_that_lists_it_and_in_no_other(wanted: list[frozenset[int]]) -> None:
    found = facts.node(*(facts.vf(index) for index in range(8)))
    resources = [listing(f"p{number}", *indices) for number, indices in enumerate(wanted)]
    dealt = assign(found, *resources)
    for index, address in enumerate(found.vfs):
        first = next((f"p{number}" for number, indices in enumerate(wanted) if index in indices), None)
        assert [name for name, ids in dealt.items() if address in ids] == ([first] if first else [])


def test_d17_a_vf_in_a_pod_is_listed_and_healthy() -> None:
    """Its netdev is not in the host then; a VF that left the list would keep its pod from restarting."""
    found = facts.node(facts.vf(netdev=None), facts.vf(1, netdev="enp1s0v1"))
    (pool,) = pools.assign(found, conf.Configuration((EVERY,)))
    assert [device.health for device in pool.devices] == [pools.Health.HEALTHY] * 2


def test_d29_a_vf_without_a_driver_is_unhealthy() -> None:
    (pool,) = pools.assign(facts.node(facts.vf(driver=None)), conf.Configuration((EVERY,)))
    assert pool.devices[0].health is pools.Health.UNHEALTHY


def test_d22_health_is_said_in_the_kubelets_words() -> None:
    assert [health.value for health in pools.Health] == ["Healthy", "Unhealthy"]


def test_d30_the_numa_node_is_told_unless_unwanted() -> None:
    found = facts.node(facts.vf(numa_node=0), facts.vf(1, numa_node=1), facts.vf(2))
    (pool,) = pools.assign(found, conf.Configuration((EVERY,)))
    assert [device.numa_node for device in pool.devices] == [0, 1, None]
    without = dataclasses.replace(EVERY, exclude_topology=True)
    (pool,) = pools.assign(found, conf.Configuration((without,)))
    assert [device.numa_node for device in pool.devices] == [None] * 3


def test_pools_of_a_tree(tmp_path: pathlib.Path) -> None:
    """Two NICs, one config as operators write it."""
    tree = sysfs_tree.SysfsTree(tmp_path)
    tree.add_pf("0000:01:00.0", sysfs.Netdev("enp1s0", 2, "52:54:00:00:00:01", 1500), numvfs=4)
    tree.add_pf("0000:02:00.0", sysfs.Netdev("ens2", 3, "52:54:00:00:00:02", 1500), sysfs_tree.LARGE, numvfs=3)
    tree.set_driver(devices.pci_address("0000:01:10.2"), "vfio-pci")
    text = b"""{"resourceList": [
        {"resourceName": "dpdk", "selectors": {"drivers": ["vfio-pci"]}},
        {"resourceName": "first", "selectors": [{"pfNames": ["ENP1S0#0-1"]}, {"rootDevices": ["0000:02:00.0#2"]}]},
        {"resourceName": "mellanox", "resourcePrefix": "nvidia.com", "selectors": {"vendors": ["15b3"]}}]}"""
    dealt = pools.assign(inventory.scan(tree.tree), conf.parse(text, "config.json", "intel.com"))
    assert {pool.resource: [device.id for device in pool.devices] for pool in dealt} == {
        "intel.com/dpdk": ["0000:01:10.2"],
        "intel.com/first": ["0000:01:10.0", "0000:02:00.3"],
        "nvidia.com/mellanox": ["0000:02:00.1", "0000:02:00.2"],
    }
