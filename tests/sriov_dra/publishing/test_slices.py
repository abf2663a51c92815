"""Slices of a node's pools: the API server takes them, in the policy's order, and pods change nothing in them."""

import json
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies

from sriov.hardware import node_devices
from sriov.hardware.drivers import infiniband
from sriov.pools import assignment, health, resources
from sriov_dra.publishing import attributes, ordering, planning, slice_objects, slicing
from tests.sriov.pools import facts
from tests.sriov_dra import rules

DRIVER, NODE = "sriov-underlay", "worker-1"
WHO = planning.Issuer(DRIVER, NODE, slice_objects.OwnerNode(NODE, "node-uid"))
BRIDGES = ("pci0000:00", "0000:00:01.0", "0000:02:00.0", "0000:03:01.0")


def resource(name: str = "rail_a", **other: Any) -> resources.Resource:
    return resources.Resource("intel.com", name, publish=resources.Publication.DRA, **other)


def vfs(count: int, pf: str = "0000:01:00.0", **other: Any) -> list[node_devices.Candidate]:
    """VFs as a card with many has them; each has its own address."""
    ids = [
        f"{pf[:5]}{int(pf[5:7], 16) + 1 + number // 256:02x}:{number % 256 >> 3:02x}.{number & 7}"
        for number in range(count)
    ]
    own = ({"id": each, "pci": each, "index": number} for number, each in enumerate(ids))
    return [msgspec.structs.replace(facts.vf(0, pf), **(each | other)) for each in own]


def pool(found: list[node_devices.Candidate], now: health.Conditions = health.NONE, **other: Any) -> assignment.Pool:
    [dealt] = assignment.assign(facts.node(*found), resources.Configuration((resource(**other),)), now)
    return dealt


def wanted(
    found: list[node_devices.Candidate], now: health.Conditions = health.NONE, **other: Any
) -> slicing.PoolSlices:
    [made] = slicing.pools(NODE, DRIVER, [pool(found, now, **other)], now)
    return made


class Server:
    """Keeps what is planned as an API server does; `writes` counts."""

    def __init__(self) -> None:
        self.slices: dict[str, slice_objects.DeviceSlice] = {}
        self.writes = 0

    def follow(self, *pools: slicing.PoolSlices) -> tuple[planning.Step, ...]:
        steps = planning.plan(WHO, list(self.slices.values()), pools)
        for step in steps:
            self._take(step)
        assert planning.plan(WHO, list(self.slices.values()), pools) == ()
        return steps

    def _take(self, step: planning.Step) -> None:
        self.writes += 1
        if isinstance(step, planning.Delete):
            del self.slices[step.name]
            return
        old = None
        metadata = step.wanted.metadata
        if isinstance(step, planning.Create):
            name = f"{metadata.generateName[:58]}{self.writes:05}"
            metadata = msgspec.structs.replace(metadata, name=name, generateName="", uid=str(self.writes))
        else:
            old = json.loads(msgspec.json.encode(self.slices[metadata.name]))
        kept = msgspec.structs.replace(step.wanted, metadata=metadata)
        assert rules.refusals(json.loads(msgspec.json.encode(kept)), old) == []
        self.slices[metadata.name] = kept

    def devices(self) -> list[str]:
        """In the allocator's order."""
        return [one.name for _, each in sorted(self.slices.items()) for one in each.spec.devices]

    def generations(self) -> set[int]:
        return {each.spec.pool.generation for each in self.slices.values()}


def test_a_vf_has_the_standard_attributes_those_of_multus_and_ours() -> None:
    [one] = vfs(1, bridges=BRIDGES, numa_node=1, rdma=infiniband.Rdma(("mlx5_2",), ("uverbs2",)), driver="mlx5_core")
    dealt = pool([one])
    assert attributes.device(dealt.devices[0], dealt, [], DRIVER) == slice_objects.SliceDevice(
        "0000-02-00-0",
        {
            "resource.kubernetes.io/pciBusID": {"string": "0000:02:00.0"},
            "resource.kubernetes.io/pcieRoot": {"string": "pci0000:00"},
            "resource.kubernetes.io/numaNode": {"int": 1},
            "k8s.cni.cncf.io/deviceID": {"string": "0000:02:00.0"},
            "k8s.cni.cncf.io/resourceName": {"string": "intel.com/rail_a"},
            "resource": {"string": "intel.com/rail_a"},
            "vendor": {"string": "8086"},
            "device": {"string": "10ca"},
            "driver": {"string": "mlx5_core"},
            "pf": {"string": "enp1s0"},
            "pfAddress": {"string": "0000:01:00.0"},
            "linkType": {"string": "ether"},
            "pcieSwitch": {"string": "0000:02:00.0"},
            "rdma": {"bool": True},
            "vfIndex": {"int": 0},
        },
    )


def test_what_is_unknown_is_left_out() -> None:
    """-1 would be a NUMA node, and an empty string a root that all such devices share."""
    dealt = pool(vfs(1, pf_netdev=None, index=None), exclude_topology=True)
    found = attributes.attributes(dealt.devices[0], dealt)
    assert not {"resource.kubernetes.io/numaNode", "resource.kubernetes.io/pcieRoot", "pcieSwitch", "pf"} & set(found)


def test_a_pod_that_comes_or_goes_changes_nothing() -> None:
    """In the pod the VF has no netdev in the host, and with exclusive RDMA no RDMA device either."""
    home = vfs(70, netdevs=("eth5",), rdma=infiniband.Rdma(("mlx5_2",), ("uverbs2",)))
    away = vfs(70, netdevs=(), rdma=infiniband.Rdma((), ("uverbs2",)))
    server = Server()
    server.follow(wanted(home))
    assert server.follow(wanted(away)) == ()


@pytest.mark.parametrize(("count", "slices"), [(0, [0]), (1, [1]), (64, [64]), (65, [64, 1]), (1024, [64] * 16)])
def test_no_slice_has_more_than_64_devices_and_an_empty_pool_has_one(count: int, slices: list[int]) -> None:
    """dra-driver-sriov puts everything into one slice, which the API server refuses from 129 devices on."""
    server = Server()
    server.follow(wanted(vfs(count)))
    assert [len(each.spec.devices) for _, each in sorted(server.slices.items())] == slices
    assert {each.spec.pool.resource_slice_count for each in server.slices.values()} == {len(slices)}
    assert {each.spec.pool.name for each in server.slices.values()} == {"worker-1/intel.com/rail-a"}


def test_a_link_that_goes_down_taints_each_vf_in_its_place_without_a_new_generation() -> None:
    """128 devices with a taint would not fit into a slice."""
    found = vfs(256)
    down = health.Conditions(down={"0000:01:00.0": "has its PF enp1s0 down"})
    server = Server()
    checks = resources.Checks(pf=True)
    server.follow(wanted(found, checks=checks))
    order = server.devices()
    assert len(server.follow(wanted(found, down, checks=checks))) == 4
    assert {each.taints for one in server.slices.values() for each in one.spec.devices} == {
        (slice_objects.DeviceTaint("sriov-underlay/link-down", "NoSchedule"),)
    }
    assert (server.devices(), server.generations()) == (order, {1})
    server.follow(wanted(found, checks=checks))
    assert all(not each.taints for one in server.slices.values() for each in one.spec.devices)


def test_one_unclean_vf_writes_one_slice() -> None:
    found = vfs(256)
    server = Server()
    server.follow(wanted(found))
    dirty = health.Conditions(dirty={found[100].id: "was left behind by a pod and is not clean yet"})
    [step] = server.follow(wanted(found, dirty))
    assert isinstance(step, planning.Replace)
    tainted = [each for each in step.wanted.spec.devices if each.taints]
    assert [(each.name, each.taints[0].key) for each in tainted] == [
        (attributes.name(found[100].id), "sriov-underlay/unclean")
    ]


def test_a_taint_that_stays_keeps_the_time_at_which_it_came() -> None:
    """Tolerations count from it."""
    found, server = vfs(2), Server()
    first = health.Conditions(dirty={found[0].id: "is dirty"})
    server.follow(wanted(found, first))
    [(name, kept)] = server.slices.items()
    timed = [
        msgspec.structs.replace(
            each, taints=tuple(msgspec.structs.replace(one, time_added="2026") for one in each.taints)
        )
        for each in kept.spec.devices
    ]
    spec = msgspec.structs.replace(kept.spec, devices=tuple(timed))
    server.slices[name] = msgspec.structs.replace(kept, spec=spec)
    assert server.follow(wanted(found, first)) == ()
    both = health.Conditions(dirty={each.id: "is dirty" for each in found})
    server.follow(wanted(found, both))
    [after] = server.slices.values()
    assert [each.taints[0].time_added for each in after.spec.devices] == ["2026", None]


def test_a_cluster_that_knows_no_taints_is_not_told_of_ailing_devices() -> None:
    found = vfs(3)
    dirty = health.Conditions(dirty={found[1].id: "is dirty"})
    [told] = slicing.pools(NODE, DRIVER, [pool(found, dirty)], dirty, with_taints=False)
    assert [each.name for each in told.slices[0]] == [attributes.name(found[0].id), attributes.name(found[2].id)]


def test_a_vf_that_is_gone_leaves_its_slice() -> None:
    server = Server()
    server.follow(wanted(vfs(130)))
    steps = server.follow(wanted(vfs(129)))
    assert [type(each) for each in steps] == [planning.Replace]
    assert server.generations() == {1}, "the others are as they were"
    server.follow(wanted(vfs(128)))
    assert (len(server.slices), server.generations()) == (2, {2})


def test_a_resource_that_is_gone_takes_its_slices_with_it() -> None:
    server = Server()
    server.follow(wanted(vfs(70)), *slicing.pools(NODE, DRIVER, [pool(vfs(2, "0000:08:00.0"), name="b")], health.NONE))
    assert [type(each) for each in server.follow(wanted(vfs(70)))] == [planning.Delete]


def test_a_crash_between_two_writes_is_repaired_by_a_newer_generation() -> None:
    """The slices of two generations are no pool; readers go on with the older one until the newer is complete."""
    server = Server()
    server.follow(wanted(vfs(200)))
    steps = planning.plan(WHO, list(server.slices.values()), [wanted(vfs(200)[::-1])])
    server._take(steps[0])
    assert server.generations() == {1, 2}
    server.follow(wanted(vfs(200)))
    assert server.generations() == {3}


def test_a_slice_whose_node_was_made_again_gets_the_new_owner() -> None:
    """The garbage collector would take it away with the former one."""
    server = Server()
    server.follow(wanted(vfs(2)))
    reborn = msgspec.structs.replace(WHO, owner=slice_objects.OwnerNode(NODE, "another-uid"))
    [step] = planning.plan(reborn, list(server.slices.values()), [wanted(vfs(2))])
    assert isinstance(step, planning.Replace)
    assert [each.uid for each in step.wanted.metadata.ownerReferences] == ["another-uid"]


COUNTS = strategies.lists(strategies.integers(0, 150), min_size=1, max_size=5)


@hypothesis.given(COUNTS)
@hypothesis.settings(max_examples=30, deadline=None)
def test_whatever_comes_and_goes_the_server_takes_it_and_has_all(counts: list[int]) -> None:
    server = Server()
    for count in counts:
        made = wanted(vfs(count))
        server.follow(made)
        assert server.devices() == [each.name for one in made.slices for each in one]
        assert len(server.generations()) == 1


A, B = "0000:01:00.0", "0000:08:00.0"


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        (resources.AllocationPolicy.SPREAD, [(A, 0), (B, 0), (A, 1), (B, 1), (A, 2)]),
        (resources.AllocationPolicy.PACKED, [(B, 0), (B, 1), (A, 0), (A, 1), (A, 2)]),
        (resources.AllocationPolicy.NUMA, [(B, 0), (B, 1), (A, 0), (A, 1), (A, 2)]),
        (resources.AllocationPolicy.PCIE, [(A, 0), (A, 1), (A, 2), (B, 0), (B, 1)]),
    ],
)
def test_the_order_of_the_devices_carries_the_policy(
    policy: resources.AllocationPolicy, order: list[tuple[str, int]]
) -> None:
    """The scheduler takes the first that fit."""
    found = [*vfs(3, A, numa_node=1, bridges=("pci0000:00",)), *vfs(2, B, numa_node=0, bridges=("pci0000:80",))]
    dealt = pool(found, policy=policy)
    assert [(each.facts.pf, each.facts.index) for each in ordering.ordered(dealt)] == order


@pytest.mark.parametrize(
    ("identifier", "name"), [("0000:01:10.0", "0000-01-10-0"), ("mlx5_core.sf.2", "mlx5-core-sf-2")]
)
def test_a_device_has_a_name_that_the_api_takes(identifier: str, name: str) -> None:
    assert attributes.name(identifier) == name
