"""Devices that somebody else has, that a pod has as another resource, and those that nobody could use."""

import asyncio
import json
import pathlib

import pytest

from sriov import devices, settings
from sriov.hardware import node_devices, sysfs
from sriov.kubelet import checkpoint
from sriov.pools import assignment, cdi, device_nodes, health, observer, resources, selectors
from sriov.state import grants, ledger
from tests.sriov.pools import facts

VFS = tuple(devices.pci_address(f"0000:01:10.{number}") for number in (0, 2, 4))
EVERY = resources.Resource("intel.com", "every")
AWAY = resources.Resource("intel.com", "away", (selectors.Selector(drivers=frozenset({"nothing"})),))


class Node:
    """A node with three VFs, a ledger, and the kubelet's file; `look` is the device plugin's, which lasts `seconds`."""

    def __init__(self, root: pathlib.Path) -> None:
        self.machine = facts.Machine(root)
        self.machine.sys.add_pf("0000:01:00.0", facts.PF0, numvfs=3)
        self.book = ledger.Ledger(root / "run")
        self.book.create()
        self.file = root / checkpoint.NAME
        where = observer.ObservedNode(self.machine.sys.tree, self.machine.proc.root, root / "dev", root / "run")
        self.observer = observer.Observer(
            observer.ObservedNode(where.tree, where.proc, where.dev, where.run_dir, checkpoint=self.file),
            observer.Patience(),
            lambda: None,
        )
        self.clock = 0.0
        self.where: dict[str, str] = {}

    def given(self, **resources_of: list[str]) -> None:
        """What the kubelet has given, by resource."""
        entries = [
            {"PodUID": "u", "ContainerName": "c", "ResourceName": f"intel.com/{name}", "DeviceIDs": {"-1": ids}}
            for name, ids in resources_of.items()
        ]
        content = {"Data": {"PodDeviceEntries": entries, "RegisteredDevices": {}}, "Checksum": 1}
        self.file.write_text(json.dumps(content))

    def hold(self, pci: devices.PciAddress) -> None:
        owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns="")
        record = ledger.Record(pci=pci, owner=owner, netns=(0, 0), home=None, wanted=settings.BASELINE, mtu=1500)
        self.book.write(record)

    def deal(self, *wanted: resources.Resource, after: float = 0.0) -> dict[str, str | None]:
        """What is wrong with each device that is listed, as the plugin's loop has it."""
        self.clock += after
        catalog, now = asyncio.run(self.observer.look(self.clock, self.where))
        dealt = assignment.assign(catalog, resources.Configuration(wanted), now, self.where)
        self.where = {device.id: pool.resource for pool in dealt for device in pool.devices}
        return {device.id: device.ailment for pool in dealt for device in pool.devices}


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Node:
    return Node(tmp_path)


def test_a_vf_whose_driver_has_brought_no_netdev_is_unhealthy_and_one_in_a_pod_is_not(node: Node) -> None:
    node.machine.sys.set_bare(VFS[0])
    assert node.deal(EVERY) == {
        VFS[0]: "has no netdev: its driver igbvf has brought none",
        VFS[1]: None,
        VFS[2]: None,
    }
    node.machine.sys.set_netdev(VFS[0], sysfs.Netdev("late", 30, "02:00:00:00:00:30", 1500))
    assert node.deal(EVERY)[VFS[0]] is None


@pytest.mark.parametrize("other", ["vfio", "uio", "rdma", "vdpa", "virtio"])
def test_what_needs_no_netdev_is_healthy_without(node: Node, other: str) -> None:
    sys = node.machine.sys
    sys.set_bare(VFS[0])
    if other == "vfio":
        sys.set_vfio(VFS[0], "mlx5_vfio_pci", "vfio0")
    elif other == "uio":
        sys.set_driver(VFS[0], "igb_uio")
    elif other == "rdma":
        sys.set_rdma(VFS[0], 3)
    elif other == "vdpa":
        sys.set_vdpa(VFS[0], 0)
    else:
        sys.set_virtio(VFS[0], "virtio5", sysfs.Netdev("eth9", 9, "02:00:00:00:00:09", 1500))
    assert node.deal(EVERY)[VFS[0]] is None


def test_a_netdev_that_comes_late_is_news(node: Node) -> None:
    """Those of other VFs are not: every pod makes some."""
    node.machine.sys.set_bare(VFS[0])
    node.deal(EVERY)
    assert set(node.observer.ordinary) == {VFS[1], VFS[2]}


def test_a_vfio_device_that_no_pod_was_given_and_somebody_has_open_is_unhealthy_once_it_lasts(node: Node) -> None:
    node.machine.sys.set_vfio(VFS[0], "mlx5_vfio_pci", "vfio0")
    node.given(every=[VFS[1]])
    assert node.deal(EVERY)[VFS[0]] is None
    node.machine.sys.set_open(VFS[0], True)
    assert node.deal(EVERY)[VFS[0]] is None
    assert node.observer.next_look == 10.0
    assert (
        node.deal(EVERY, after=10.0)[VFS[0]] == "is open in a program outside of pods, such as a virtual machine (vfio)"
    )
    node.machine.sys.set_open(VFS[0], False)
    assert node.deal(EVERY)[VFS[0]] is not None
    assert node.deal(EVERY, after=10.0)[VFS[0]] is None


@pytest.mark.parametrize("known", ["kubelet", "ledger", "no file", "bad file", "awake anyway", "older kernel"])
def test_a_vfio_device_that_a_pod_may_have_open_is_healthy(node: Node, known: str) -> None:
    node.machine.sys.set_vfio(VFS[0], "vfio-pci", "vfio0")
    node.machine.sys.set_open(VFS[0], True)
    node.given(every=[VFS[0]] if known == "kubelet" else [])
    if known == "ledger":
        node.hold(VFS[0])
    elif known == "no file":
        node.file.unlink()
    elif known == "bad file":
        node.file.write_text("{")
    elif known == "awake anyway":
        parameter = node.machine.sys.root / "module/vfio_pci/parameters/disable_idle_d3"
        parameter.parent.mkdir(parents=True)
        parameter.write_text("Y\n")
    elif known == "older kernel":
        node.machine.sys.set_attribute(VFS[0], "power/control", "on")
    assert node.deal(EVERY)[VFS[0]] is None
    assert node.deal(EVERY, after=60.0)[VFS[0]] is None


def test_what_the_kubelet_gave_is_read_in_its_older_form_too(tmp_path: pathlib.Path) -> None:
    entry = {"PodUID": "u", "ContainerName": "c", "ResourceName": "a/b", "DeviceIDs": ["x", "y"]}
    (tmp_path / "old").write_text(json.dumps({"Data": {"PodDeviceEntries": [entry]}, "Checksum": 1}))
    (tmp_path / "none").write_text(json.dumps({"Data": {"PodDeviceEntries": None}, "Checksum": 1}))
    assert checkpoint.read(tmp_path / "old") == {"x": frozenset({"a/b"}), "y": frozenset({"a/b"})}
    assert checkpoint.read(tmp_path / "none") == {}


def test_a_vf_that_a_pod_holds_is_not_offered_as_another_resource(node: Node) -> None:
    """Neither at the reload nor at any look after it, until the pod is gone."""
    other = resources.Resource("intel.com", "other")
    assert set(node.deal(EVERY).values()) == {None}
    node.hold(VFS[0])
    for _ in range(3):
        assert node.deal(other) == {
            VFS[0]: "is in a pod that was given it as intel.com/every",
            VFS[1]: None,
            VFS[2]: None,
        }
    assert node.deal(EVERY)[VFS[0]] is None
    node.deal(other)
    node.book.remove(VFS[0])
    assert set(node.deal(other).values()) == {None}


def test_a_plugin_that_starts_anew_asks_the_kubelets_file_as_what_a_vf_was_given(node: Node) -> None:
    node.hold(VFS[0])
    node.hold(VFS[1])
    node.given(before=[VFS[0]], every=[VFS[1]], free=[VFS[2]])
    assert node.deal(EVERY) == {
        VFS[0]: "is in a pod that was given it as intel.com/before",
        VFS[1]: None,
        VFS[2]: None,
    }


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert health.given({}, {"x", "y"}, {}, {"x": {"a/b", "a/c"}}) == {}


def vfio(number: int, device: str | None = "vfio3", group: str = "7", unsafe: bool = False) -> assignment.Device:
    one = facts.vf(
        number,
        driver="mlx5_vfio_pci",
        iommu=node_devices.IommuGroup(group, unsafe),
        vfio=node_devices.Vfio(device),
    )
    return assignment.Device(one.id, one)


IOMMUFD = frozenset({"/dev/iommu"})


def test_a_vfio_variant_is_told_by_its_folder_and_given_both_ways(node: Node) -> None:
    node.machine.sys.set_vfio(VFS[0], "mlx5_vfio_pci", "vfio3", cdev=True)
    node.machine.sys.set_iommu_group(VFS[0], 7)
    node.machine.sys.set_misc("iommu")
    catalog = node.machine.catalog()
    device = assignment.Device(VFS[0], catalog.candidates[VFS[0]])
    assert [each.host for each in device_nodes.nodes(device, catalog.shared)] == [
        "/dev/vfio/vfio",
        "/dev/vfio/7",
        "/dev/iommu",
        "/dev/vfio/devices/vfio3",
    ]
    found = device_nodes.info(device, EVERY, catalog.shared)
    assert found["vfio"] == {"mount": "/dev/vfio/vfio", "dev-mount": "/dev/vfio/7"}


def test_cdi_names_the_same_nodes() -> None:
    spec = cdi.spec(assignment.Pool(EVERY, (vfio(0),), IOMMUFD))
    assert spec is not None
    [device] = json.loads(spec)["devices"]
    assert [node["path"] for node in device["containerEdits"]["deviceNodes"]] == [
        "/dev/vfio/vfio",
        "/dev/vfio/7",
        "/dev/iommu",
        "/dev/vfio/devices/vfio3",
    ]


@pytest.mark.parametrize(("device", "shared"), [(None, IOMMUFD), ("vfio3", frozenset[str]())])
def test_iommufd_is_given_where_the_kernel_has_all_of_it(device: str | None, shared: frozenset[str]) -> None:
    assert [each.host for each in device_nodes.nodes(vfio(0, device), shared)] == ["/dev/vfio/vfio", "/dev/vfio/7"]


def test_vfio_devices_of_one_group_are_warned_of() -> None:
    both = assignment.Pool(EVERY, (vfio(0), vfio(2, group="8"))), assignment.Pool(AWAY, (vfio(1),))
    [text] = assignment.shared_groups(both).values()
    assert text.startswith("IOMMU group 7 holds 0000:01:10.0, 0000:01:10.1: a pod that has one keeps other pods from")
    assert assignment.shared_groups(both[:1]) == {}


BY_CLAIMS = resources.Resource("intel.com", "every", publish=resources.Publication.DRA)


def granted(node: Node, *pcis: devices.PciAddress) -> None:
    book = grants.Grants(node.machine.root / "run")
    book.create()
    listed = tuple(grants.GrantedDevice(pci, "vf", "node/intel.com/every", "x") for pci in pcis)
    book.write(grants.ClaimGrant(uid="u1", namespace="ml", name="rails", devices=listed))


def test_switched_to_claims_what_old_pods_hold_is_given_to_none_until_it_is_home(node: Node) -> None:
    """From the first look on; a claim's own pod is no reason, and the end of an attachment takes a moment."""
    node.hold(VFS[0])
    node.hold(VFS[1])
    granted(node, VFS[1])
    held = {VFS[0]: "is in a pod that has it by no claim", VFS[1]: None, VFS[2]: None}
    assert node.deal(BY_CLAIMS) == held
    node.book.remove(VFS[0])
    assert node.deal(BY_CLAIMS, after=0.1) == held
    assert node.deal(BY_CLAIMS, after=1.0) == dict.fromkeys(VFS)


def test_a_vf_that_comes_into_a_pod_just_before_its_grant_is_seen_is_no_other_pods(node: Node) -> None:
    assert node.deal(BY_CLAIMS) == dict.fromkeys(VFS)
    node.hold(VFS[0])
    assert node.deal(BY_CLAIMS, after=0.1) == dict.fromkeys(VFS)
    granted(node, VFS[0])
    assert node.deal(BY_CLAIMS, after=2.0) == dict.fromkeys(VFS)


def test_switched_back_what_claims_hold_is_not_the_device_plugins_until_they_are_unprepared(node: Node) -> None:
    granted(node, VFS[0])
    assert node.deal(EVERY) == {VFS[0]: "is prepared for claim ml/rails", VFS[1]: None, VFS[2]: None}
    grants.Grants(node.machine.root / "run").remove("u1")
    assert node.deal(EVERY) == dict.fromkeys(VFS)
