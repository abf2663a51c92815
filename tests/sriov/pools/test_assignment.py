"""Assignment of VFs to pools, on facts and on a tree."""

import pathlib

import hypothesis
import msgspec
from hypothesis import strategies

from sriov import devices
from sriov.hardware import host_networking, node_devices
from sriov.pools import assignment, health, resources, selectors
from tests.fakes import sysfs_tree
from tests.sriov.pools import facts

EVERY = resources.Resource("intel.com", "every")
NONE = resources.Resource("intel.com", "none", ())


def listing(name: str, *indices: int) -> resources.Resource:
    wanted = selectors.Functions("enp1s0", tuple((index, index) for index in indices))
    return resources.Resource("intel.com", name, (selectors.Selector(pf_names=(wanted,)),))


def assign(found: node_devices.Catalog, *wanted: resources.Resource) -> dict[str, list[str]]:
    dealt = assignment.assign(found, resources.Configuration(wanted))
    return {pool.settings.name: [device.id for device in pool.devices] for pool in dealt}


def test_the_first_pool_wins() -> None:
    found = facts.node(*(facts.vf(index) for index in range(3)))
    assert assign(found, listing("a", 1), EVERY) == {"a": ["0000:01:10.1"], "every": ["0000:01:10.0", "0000:01:10.2"]}
    assert assign(found, EVERY, listing("a", 1)) == {"every": list(found.candidates), "a": []}


def test_a_pool_without_devices_is_there_all_the_same() -> None:
    assert assign(facts.node(), EVERY) == {"every": []}
    assert assign(facts.node(facts.vf()), NONE) == {"none": []}


@hypothesis.given(strategies.lists(strategies.frozensets(strategies.integers(0, 7), min_size=1), max_size=5))
def test_d23_a_vf_is_in_the_first_pool_that_lists_it_and_in_no_other(wanted: list[frozenset[int]]) -> None:
    found = facts.node(*(facts.vf(index) for index in range(8)))
    dealt = assign(found, *(listing(f"p{number}", *indices) for number, indices in enumerate(wanted)))
    for index, address in enumerate(found.candidates):
        first = next((f"p{number}" for number, indices in enumerate(wanted) if index in indices), None)
        assert [name for name, ids in dealt.items() if address in ids] == ([first] if first else [])


def test_d17_a_vf_in_a_pod_is_listed_and_healthy() -> None:
    """Its netdev is not in the host then; a VF that left the list would keep its pod from restarting."""
    found = facts.node(facts.vf(netdevs=()), facts.vf(1, netdevs=("enp1s0v1",)))
    (pool,) = assignment.assign(found, resources.Configuration((EVERY,)))
    assert [device.health for device in pool.devices] == [assignment.Health.HEALTHY] * 2


def test_d29_a_vf_without_a_driver_is_unhealthy() -> None:
    (pool,) = assignment.assign(facts.node(facts.vf(driver=None)), resources.Configuration((EVERY,)))
    assert pool.devices[0].health is assignment.Health.UNHEALTHY


def test_d22_health_is_said_in_the_kubelets_words() -> None:
    assert [health.value for health in assignment.Health] == ["Healthy", "Unhealthy"]


def test_d30_the_numa_node_is_told_unless_unwanted() -> None:
    found = facts.node(facts.vf(numa_node=0), facts.vf(1, numa_node=1), facts.vf(2))
    (pool,) = assignment.assign(found, resources.Configuration((EVERY,)))
    assert [device.numa_node for device in pool.devices] == [0, 1, None]
    without = msgspec.structs.replace(EVERY, exclude_topology=True)
    (pool,) = assignment.assign(found, resources.Configuration((without,)))
    assert [device.numa_node for device in pool.devices] == [None] * 3


def test_pools_of_a_tree(tmp_path: pathlib.Path) -> None:
    """Two NICs, one config as operators write it."""
    machine = facts.Machine(tmp_path)
    machine.sys.add_pf("0000:01:00.0", facts.PF0, numvfs=4)
    machine.sys.add_pf("0000:02:00.0", facts.PF1, sysfs_tree.LARGE, numvfs=3)
    machine.sys.set_driver(devices.pci_address("0000:01:10.2"), "vfio-pci")
    dealt = machine.pools(
        {"resourceName": "dpdk", "selectors": {"drivers": ["vfio-pci"]}},
        {"resourceName": "first", "selectors": [{"pfNames": ["ENP1S0#0-1"]}, {"rootDevices": ["0000:02:00.0#2"]}]},
        {"resourceName": "mellanox", "resourcePrefix": "nvidia.com", "selectors": {"vendors": ["15b3"]}},
    )
    assert {pool.resource: [device.id for device in pool.devices] for pool in dealt} == {
        "intel.com/dpdk": ["0000:01:10.2"],
        "intel.com/first": ["0000:01:10.0", "0000:02:00.3"],
        "nvidia.com/mellanox": ["0000:02:00.1", "0000:02:00.2"],
    }


ANY = resources.Resource("intel.com", "any", (selectors.EVERY,))
IGB = resources.Resource("intel.com", "igb", (selectors.Selector(drivers=frozenset({"igbvf"})),))
VFIO = resources.Resource("intel.com", "vfio", (selectors.Selector(drivers=frozenset({"vfio-pci"})),))


def test_a_pf_that_has_vfs_or_had_them_is_never_handed_out() -> None:
    """A device that is being set up again has none for a moment."""
    idle = msgspec.structs.replace(
        facts.vf(), id="0000:01:00.0", role=node_devices.Role.PF, pci=devices.PciAddress("0000:01:00.0"), pf=None
    )
    assert assign(facts.node(idle), ANY) == {"any": [idle.id]}
    assert assign(facts.node(msgspec.structs.replace(idle, numvfs=3)), ANY) == {"any": []}
    had = health.Conditions(managed=frozenset({idle.pci}))
    (pool,) = assignment.assign(facts.node(idle), resources.Configuration((ANY,)), had)
    assert pool.devices == ()


def test_without_selectors_nothing_but_vfs_is_taken() -> None:
    nic = msgspec.structs.replace(facts.vf(1), role=node_devices.Role.NIC, pf=None)
    assert assign(facts.node(facts.vf(), nic), EVERY) == {"every": [facts.vf().id]}


def test_a_device_without_a_driver_is_offered_only_if_it_is_a_vf() -> None:
    nic = msgspec.structs.replace(facts.vf(1), role=node_devices.Role.NIC, pf=None, driver=None)
    assert assign(facts.node(facts.vf(driver=None), nic), ANY) == {"any": [facts.vf().id]}


def test_d29_a_vf_that_loses_its_driver_stays_where_it_was_until_it_has_another() -> None:
    configuration = resources.Configuration((IGB, VFIO))
    before = {facts.vf().id: "intel.com/igb"}
    lost, taken = facts.node(facts.vf(driver=None)), facts.node(facts.vf(driver="vfio-pci"))
    igb, vfio = assignment.assign(lost, configuration, before=before)
    assert [device.ailment for device in igb.devices] == ["has no driver"]
    assert vfio.devices == ()
    igb, vfio = assignment.assign(taken, configuration, before=before)
    assert (igb.devices, [device.ailment for device in vfio.devices]) == ((), [None])
    assert [pool.devices for pool in assignment.assign(lost, configuration)] == [(), ()]


@hypothesis.given(strategies.sampled_from(list(host_networking.Use)), strategies.booleans())
def test_what_the_host_uses_is_not_offered(use: host_networking.Use, addresses: bool) -> None:
    """An address alone can be allowed, for VFs that get leases; a route or a bond cannot."""
    used = facts.vf(host_use=host_networking.HostUse(use, "eth0 is the host's"))
    resource = msgspec.structs.replace(ANY, host_addresses=addresses)
    offered = assign(facts.node(used), resource)["any"]
    assert bool(offered) == (addresses and use is host_networking.Use.ADDRESS)
    assert "traffic of the host: eth0 is the host's" in str(assignment.why_not(ANY, used, health.NONE))


def test_d28_d29_each_check_is_a_policy_of_the_pool() -> None:
    now = health.Conditions(down={"0000:01:00.0": "its PF is down"}, dirty={facts.vf(1).id: "is dirty"})
    listed = [facts.vf(), facts.vf(1), facts.vf(2, driver=None), facts.vf(3, pf="0000:02:00.0", id="x")]

    def ailments(**checks: bool) -> list[str | None]:
        policy = msgspec.structs.replace(resources.Checks(pf=False, driver=False, cleanup=False), **checks)
        return [assignment.ailment(policy, one, now) for one in listed]

    assert ailments() == [None] * 4
    assert ailments(pf=True) == ["its PF is down"] * 3 + [None]
    assert ailments(cleanup=True) == [None, "is dirty", None, None]
    assert ailments(driver=True) == [None, None, "has no driver", None]


def test_the_first_selector_of_a_list_that_fits_counts() -> None:
    """Not the one that gives most."""
    plain, rdma = selectors.Selector(vendors=frozenset({"8086"})), selectors.Selector(need_vhost_net=True)
    resource = resources.Resource("intel.com", "a", (plain, rdma))
    (pool,) = assignment.assign(
        facts.node(facts.vf(), facts.vf(1, vendor="15b3")), resources.Configuration((resource,))
    )
    assert [device.selector.need_vhost_net for device in pool.devices] == [False, True]


def test_a_device_that_a_pod_has_in_the_other_way_is_not_given() -> None:
    """The kubelet and the scheduler each count by themselves, so a resource that is switched over knows of both."""
    found = facts.node(facts.vf(), facts.vf(1), facts.vf(2))
    claimed, other, _ = found.candidates
    now = health.Conditions(claimed={claimed: "is prepared for claim a/b"}, unclaimed={other: "is in a pod otherwise"})
    by_claims = msgspec.structs.replace(EVERY, publish=resources.Publication.DRA)
    for wanted, ill in ((EVERY, {claimed: "is prepared for claim a/b"}), (by_claims, {other: "is in a pod otherwise"})):
        [pool] = assignment.assign(found, resources.Configuration((wanted,)), now)
        assert {one.id: one.ailment for one in pool.devices if one.ailment} == ill


def test_every_ailment_is_told_with_its_kind() -> None:
    one = facts.vf(driver=None)
    checks = resources.Checks(pf=True)
    now = health.Conditions(down={"0000:01:00.0": "down"}, dirty={one.id: "dirty"}, foreign={one.id: "open"})
    told = [(each.kind.value, each.text) for each in health.ailments(checks, one, now)]
    going = msgspec.structs.replace(one, going=True)
    assert next(health.ailments(checks, going, now)).kind is health.AilmentKind.GOING
    assert told == [("no-driver", "has no driver"), ("in-use", "open"), ("unclean", "dirty"), ("link-down", "down")]
