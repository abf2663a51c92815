"""Answers that users of sriov-network-device-plugin rely on, row by row: a config, a node, the exact answer.

The rows are those of docs/compatibility.md, and its numbers are the names here. A row whose name ends in `differs` is
one in which we do, on purpose, what that plugin does not.
"""

import json
import pathlib
from collections.abc import Callable

import pytest

from deviceplugin import allocation, servicer
from sriov import devices
from sriov.hardware import sysfs
from sriov.kubelet import names
from sriov.pools import assignment, cdi, device_info, device_nodes
from tests.fakes import sysfs_tree
from tests.sriov.pools import facts

MLX = sysfs_tree.LARGE
PF2 = sysfs.Netdev("ib0", 4, "52:54:00:00:00:03", 2044)
IB = sysfs_tree.Model("15b3", "101b", "101c", "mlx5_core", "mlx5_core", 8, 1, 1, link_type=devices.LinkType.INFINIBAND)
A0, A1, A2, A3 = "0000:01:10.0", "0000:01:10.2", "0000:01:10.4", "0000:01:10.6"
B0, B1 = "0000:02:00.1", "0000:02:00.2"
C0 = "0000:03:00.1"
NIC, FPGA = "0000:04:00.0", "0000:05:00.0"
SF4, SF5 = "mlx5_core.sf.4", "mlx5_core.sf.5"


@pytest.fixture
def node(tmp_path: pathlib.Path) -> facts.Machine:
    """An 82576 with 4 VFs, a ConnectX with 2 VFs and 2 SFs, one with InfiniBand, a plain NIC, an accelerator."""
    machine = facts.Machine(tmp_path)
    machine.sys.add_pf("0000:01:00.0", facts.PF0, numvfs=4)
    connectx = machine.sys.add_pf("0000:02:00.0", facts.PF1, MLX, numvfs=2)
    machine.sys.add_pf("0000:03:00.0", PF2, IB, numvfs=1)
    machine.sys.add_plain_nic(NIC, sysfs.Netdev("eno1", 9, "52:54:00:00:00:04", 1500))
    machine.sys.add_accelerator(FPGA)
    machine.sys.add_sf(connectx, SF4, 88)
    machine.sys.add_sf(connectx, SF5, 89)
    machine.sys.set_attribute(address(A1), "acpi_index", 101)
    machine.sys.set_attribute(address(FPGA), "acpi_index", 7)
    machine.sys.set_rdma(address(B0), 3, pkey=0x8001)
    machine.sys.set_rdma(address(B1), 4, pkey=0x0001)
    machine.sys.set_vdpa(address(A2), 0)
    machine.sys.set_vdpa(address(A3), 1, "virtio_vdpa")
    machine.sys.set_misc("rdma_cm", "vhost-net", "tun")
    machine.ddp[address("0000:01:00.0")] = "ICE COMMS Package"
    return machine


def address(text: str) -> devices.PciAddress:
    return devices.pci_address(text)


def pool(node: facts.Machine, **entry: object) -> assignment.Pool:
    (only,) = node.pools({"resourceName": "a"} | entry)
    return only


def given(node: facts.Machine, *ids: str, **entry: object) -> allocation.Answer:
    return allocation.answer(pool(node, **entry), ids)


def info(answer: allocation.Answer) -> dict[str, dict[str, dict[str, str]]]:
    found: dict[str, dict[str, dict[str, str]]] = json.loads(answer.envs["PCIDEVICE_INTEL_COM_A_INFO"])
    return found


def paths(answer: allocation.Answer) -> list[str]:
    return [node.host for node in answer.nodes]


SELECTORS = [
    ("vendors", {"vendors": ["15b3"]}, [B0, B1, C0]),
    ("devices", {"devices": ["10ca"]}, [A0, A1, A2, A3]),
    ("drivers", {"drivers": ["mlx5_core"]}, [B0, B1, C0]),
    ("pciAddresses", {"pciAddresses": [A3, B1]}, [A3, B1]),
    ("pciAddresses short form differs", {"pciAddresses": ["01:10.6"]}, [A3]),
    ("acpiIndexes", {"acpiIndexes": ["101"]}, [A1]),
    ("pfNames", {"pfNames": ["ENP1S0#0,2-3"]}, [A0, A2, A3]),
    ("pfNames without a range", {"pfNames": ["enp2s0"]}, [B0, B1]),
    ("pfNames by index on any PF", {"pfNames": ["#1"]}, [A1, B1]),
    ("pfNames by expression", {"pfNames": ["^enp[12]s0$#0-1"]}, [A0, A1, B0, B1]),
    ("pfNames by a part of the name differs", {"pfNames": ["enp1"]}, []),
    ("pfNames twice differs", {"pfNames": ["enp1s0#0", "enp1s0#3"]}, [A0, A3]),
    ("rootDevices", {"rootDevices": ["0000:01:00.0#1", "0000:02:00.0"]}, [A1, B0, B1]),
    ("rootDevices by index on any PF", {"rootDevices": ["#1"]}, [A1, B1]),
    ("rootDevices by expression", {"rootDevices": ["0000:0[12]:00.0#0"]}, [A0, B0]),
    ("linkTypes", {"linkTypes": ["infiniband"]}, [C0]),
    ("linkTypes more than one", {"linkTypes": ["infiniband", "ether"], "devices": ["1018", "101c"]}, [B0, B1, C0]),
    ("ddpProfiles", {"ddpProfiles": ["ICE COMMS Package", "GTP"]}, [A0, A1, A2, A3]),
    ("ddpProfiles that nothing runs", {"ddpProfiles": ["GTPv1-C/U IPv4/IPv6 payload"]}, []),
    ("pKeys", {"pKeys": ["0x8001"]}, [B0]),
    ("pKeys as written in its README differs", {"pKeys": ["0x1"]}, [B1]),
    ("isRdma", {"isRdma": True}, [B0, B1]),
    ("needVhostNet is no filter", {"needVhostNet": True, "devices": ["10ca"]}, [A0, A1, A2, A3]),
    ("vdpaType vhost", {"vdpaType": "vhost"}, [A2]),
    ("vdpaType virtio", {"vdpaType": "virtio"}, [A3]),
    ("vdpaType others", {"vdpaType": "magic"}, []),
    ("keys in any case", {"PCIADDRESSES": [A0], "IsRdma": False}, [A0]),
    ("keys are joined by and", {"vendors": ["15b3"], "linkTypes": ["infiniband"]}, [C0]),
    ("a list is joined by or", [{"pciAddresses": [A0]}, {"linkTypes": ["infiniband"]}], [A0, C0]),
    ("an empty list of values", {"vendors": [], "devices": ["101c"]}, [C0]),
    ("an empty list of selectors differs", [], []),
    ("no selectors differs", None, [A0, A1, A2, A3, B0, B1, C0]),
    ("an empty object takes plain NICs too", {}, [A0, A1, A2, A3, B0, B1, C0, NIC]),
]


@pytest.mark.parametrize(
    ("selectors", "ids"), [row[1:] for row in SELECTORS], ids=[f"1.3 {row[0]}" for row in SELECTORS]
)
def test_selectors_of_netdevices(node: facts.Machine, selectors: object, ids: list[str]) -> None:
    assert [device.id for device in pool(node, selectors=selectors).devices] == ids


OTHERS = [
    ("accelerator", "1.3 accelerator vendors", {"vendors": ["8086"]}, [FPGA]),
    ("accelerator", "1.3 accelerator devices", {"devices": ["ffff"]}, []),
    ("accelerator", "1.3 accelerator drivers", {"drivers": ["pci-pf-stub"]}, [FPGA]),
    ("accelerator", "1.3 accelerator pciAddresses", {"pciAddresses": [FPGA]}, [FPGA]),
    ("accelerator", "1.3 accelerator acpiIndexes differs", {"acpiIndexes": ["8"]}, []),
    ("auxNetDevice", "1.3 auxTypes", {"auxTypes": ["sf"]}, [SF4, SF5]),
    ("auxNetDevice", "1.3 aux vendors", {"auxTypes": ["sf"], "vendors": ["8086"]}, []),
    ("auxNetDevice", "1.3 aux devices of the parent", {"auxTypes": ["sf"], "devices": ["1017"]}, [SF4, SF5]),
    ("auxNetDevice", "1.3 aux drivers of the parent", {"auxTypes": ["sf"], "drivers": ["mlx5_core"]}, [SF4, SF5]),
    ("auxNetDevice", "1.3 aux pfNames by SF number", {"auxTypes": ["sf"], "pfNames": ["enp2s0#89"]}, [SF5]),
    ("auxNetDevice", "1.3 aux rootDevices", {"auxTypes": ["sf"], "rootDevices": ["0000:02:00.0#88"]}, [SF4]),
    ("auxNetDevice", "1.3 aux linkTypes", {"auxTypes": ["sf"], "linkTypes": ["infiniband"]}, []),
    ("auxNetDevice", "1.3 aux isRdma", {"auxTypes": ["sf"], "isRdma": True}, []),
    ("auxNetDevice", "1.3 aux acpiIndexes differs", {"auxTypes": ["sf"], "acpiIndexes": ["1"]}, []),
]


@pytest.mark.parametrize(
    ("kind", "selectors", "ids"), [(a, c, d) for a, _, c, d in OTHERS], ids=[row[1] for row in OTHERS]
)
def test_selectors_of_other_kinds(node: facts.Machine, kind: str, selectors: object, ids: list[str]) -> None:
    assert [device.id for device in pool(node, deviceType=kind, selectors=selectors).devices] == ids


def test_1_2_resource_prefix_and_name(node: facts.Machine) -> None:
    listed = node.pools({"resourceName": "x-y_Z", "resourcePrefix": "example.com"}, {"resourceName": "b"})
    assert [each.resource for each in listed] == ["example.com/x-y_Z", "intel.com/b"]


def test_1_4_the_first_pool_in_the_file_gets_a_device(node: facts.Machine) -> None:
    by_pf = {"resourceName": "pf", "selectors": {"pfNames": ["enp1s0"]}}
    by_id = {"resourceName": "id", "selectors": {"devices": ["10ca"]}}
    assert node.deal(by_pf, by_id) == {"pf": [A0, A1, A2, A3], "id": []}


def test_1_4_the_first_selector_that_fits_decides_what_is_mounted(node: facts.Machine) -> None:
    plain = {"pciAddresses": [B0]}
    assert paths(given(node, B0, selectors=[plain, {"isRdma": True}])) == []
    assert paths(given(node, B1, selectors=[plain, {"isRdma": True}])) != []


def test_1_6_a_pf_with_vfs_is_not_offered_and_one_without_is(node: facts.Machine) -> None:
    every = {"resourceName": "a", "selectors": {"vendors": ["8086"], "devices": ["10c9"]}}
    assert node.deal(every) == {"a": [NIC]}
    node.sys.set_numvfs(address("0000:01:00.0"), 0)
    assert node.deal(every) == {"a": ["0000:01:00.0", NIC]}


@pytest.mark.parametrize(
    "use",
    [
        lambda node: node.proc.route("eno1", "0.0.0.0/0"),
        lambda node: node.proc.route("eno1", "::/0"),
        lambda node: node.proc.route("eno1", "10.1.0.0/16"),
        lambda node: node.proc.address("eno1", "2001:db8::1"),
        lambda node: node.sys.set_master(address(NIC), "eno1", "bond0"),
        lambda node: node.sys.set_attribute(address(NIC), "net/eno1/upper_eno1.100", ""),
    ],
    ids=["default route v4", "default route v6", "address v4", "address v6", "bond", "vlan"],
)
def test_1_6_the_hosts_uplink_is_not_offered_differs(node: facts.Machine, use: Callable[[facts.Machine], None]) -> None:
    every: dict[str, object] = {"resourceName": "a", "selectors": {"pciAddresses": [NIC]}}
    assert node.deal(every) == {"a": [NIC]}
    use(node)
    assert node.deal(every) == {"a": []}


def test_1_6_what_is_no_use_of_the_host(node: facts.Machine) -> None:
    node.proc.unreachable()
    node.proc.address("eno1", "fe80::1")
    node.proc.route("other", "0.0.0.0/0")
    assert node.deal({"resourceName": "a", "selectors": {"pciAddresses": [NIC]}}) == {"a": [NIC]}


def test_1_6_vfs_with_a_lease_of_the_host_can_be_offered(node: facts.Machine) -> None:
    node.sys.set_netdev(address(A0), sysfs.Netdev("enp1s0v0", 20, "02:00:00:00:00:01", 1500))
    node.proc.route("enp1s0v0", "10.1.0.0/16")
    entry: dict[str, object] = {"resourceName": "a", "selectors": {"pciAddresses": [A0]}}
    assert node.deal(entry) == {"a": []}
    assert node.deal(entry | {"offerHostAddresses": True}) == {"a": [A0]}


def test_1_6_switchdev_names_the_pf_by_its_uplink(node: facts.Machine) -> None:
    pf = address("0000:01:00.0")
    node.sys.set_netdev(pf, sysfs.Netdev("enp1s0r0", 20, "02:00:00:00:00:20", 1500), facts.PF0)
    node.sys.set_attribute(pf, "net/enp1s0/phys_port_name", "p0")
    node.sys.set_attribute(pf, "net/enp1s0r0/phys_port_name", "pf0vf0")
    assert node.deal({"resourceName": "a", "selectors": {"pfNames": ["enp1s0"]}}) == {"a": [A0, A1, A2, A3]}


def test_1_7_the_variable_lists_ids_in_the_requests_order(node: facts.Machine) -> None:
    assert given(node, A3, A0).envs["PCIDEVICE_INTEL_COM_A"] == f"{A3},{A0}"
    assert names.variable("a-b.example.com", "x-y") == "PCIDEVICE_A-B_EXAMPLE_COM_X-Y"


def test_1_7_a_plain_vf_gets_no_node_and_nothing_is_mounted(node: facts.Machine) -> None:
    assert given(node, A0).nodes == ()
    assert not servicer.container(given(node, A0)).mounts  # type: ignore[attr-defined]


def test_1_7_vfio(node: facts.Machine) -> None:
    node.sys.set_driver(address(A0), "vfio-pci")
    node.sys.set_iommu_group(address(A0), 169)
    answer = given(node, A0)
    assert answer.nodes == (
        device_nodes.DeviceNode("/dev/vfio/vfio", "/dev/vfio/vfio"),
        device_nodes.DeviceNode("/dev/vfio/169", "/dev/vfio/169"),
    )
    assert info(answer)[A0]["vfio"] == {"mount": "/dev/vfio/vfio", "dev-mount": "/dev/vfio/169"}
    specs = servicer.container(answer).devices  # type: ignore[attr-defined]
    assert [(spec.host_path, spec.container_path, spec.permissions) for spec in specs] == [
        ("/dev/vfio/vfio", "/dev/vfio/vfio", "rw"),
        ("/dev/vfio/169", "/dev/vfio/169", "rw"),
    ]


def test_1_7_vfio_without_iommu(node: facts.Machine) -> None:
    node.sys.set_driver(address(A0), "vfio-pci")
    node.sys.set_iommu_group(address(A0), 5, "vfio-noiommu")
    answer = given(node, A0)
    assert answer.nodes[1] == device_nodes.DeviceNode("/dev/vfio/noiommu-5", "/dev/vfio/5")
    assert info(answer)[A0]["vfio"]["dev-mount"] == "/dev/vfio/5"


@pytest.mark.parametrize(
    ("driver", "mounts"), [("uio", ["/dev/uio3"]), ("igb_uio", ["/dev/uio3"]), ("uio_pci_generic", [])]
)
def test_1_7_uio(node: facts.Machine, driver: str, mounts: list[str]) -> None:
    node.sys.set_driver(address(A0), driver)
    node.sys.set_uio(address(A0), "uio3")
    assert paths(given(node, A0)) == mounts


def test_1_8_uio_mount_is_told_at_the_first_allocate_differs(node: facts.Machine) -> None:
    node.sys.set_driver(address(A0), "igb_uio")
    node.sys.set_uio(address(A0), "uio3")
    assert info(given(node, A0))[A0]["uio"] == {"mount": "/dev/uio3"}


RDMA = ["/dev/infiniband/uverbs3", "/dev/infiniband/issm3", "/dev/infiniband/umad3", "/dev/infiniband/rdma_cm"]


def test_1_7_rdma(node: facts.Machine) -> None:
    answer = given(node, B0, selectors={"isRdma": True})
    assert paths(answer) == RDMA
    assert info(answer)[B0]["rdma"] == {
        "uverbs": RDMA[0],
        "issm": RDMA[1],
        "umad": RDMA[2],
        "rdma_cm": RDMA[3],
        "rdma_dev": "mlx5_3",
    }
    assert "rdma" not in info(given(node, B0))[B0]


def test_1_7_rdma_of_a_vf_whose_pod_has_the_rdma_device(node: facts.Machine) -> None:
    """A restart of the plugin meanwhile must not lose it."""
    node.sys.set_rdma(address(B0), 3, at_home=False)
    answer = given(node, B0, selectors={"isRdma": True})
    assert paths(answer) == RDMA
    assert "rdma_dev" not in info(answer)[B0]["rdma"]


def test_1_7_rdma_of_a_subfunction(node: facts.Machine) -> None:
    node.sys.set_rdma(node.root / "sys/devices/pci0000:00/0000:02:00.0" / SF4, 8)
    wanted = {"deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"], "isRdma": True}}
    answer = given(node, SF4, **wanted)
    assert paths(answer)[0] == "/dev/infiniband/uverbs8"
    assert answer.envs["PCIDEVICE_INTEL_COM_A"] == SF4
    assert list(info(answer)[SF4]) == ["generic", "rdma"]


@pytest.mark.parametrize(("there", "mounts"), [(True, ["/dev/vhost-net", "/dev/net/tun"]), (False, [])])
def test_1_7_vhost_net_both_or_neither(node: facts.Machine, there: bool, mounts: list[str]) -> None:
    if not there:
        (node.root / "sys/class/misc/tun").rmdir()
    answer = given(node, A0, selectors={"needVhostNet": True})
    assert paths(answer) == mounts
    expected = {"net-mount": "/dev/vhost-net", "tun-mount": "/dev/net/tun"} if there else None
    assert info(answer)[A0].get("vhost") == expected


def test_1_7_vdpa(node: facts.Machine) -> None:
    answer = given(node, A2, selectors={"vdpaType": "vhost"})
    assert paths(answer) == ["/dev/vhost-vdpa-0"]
    assert info(answer)[A2]["vdpa"] == {"mount": "/dev/vhost-vdpa-0"}
    answer = given(node, A3, selectors={"vdpaType": "virtio"})
    assert (paths(answer), info(answer)[A3]["vdpa"]) == ([], {})


@pytest.mark.parametrize("kind", ["netDevice", "accelerator", "auxNetDevice"])
def test_1_7_an_unknown_device_fails_for_every_kind_differs(node: facts.Machine, kind: str) -> None:
    with pytest.raises(allocation.AllocationError, match="has no device"):
        given(node, "0000:99:00.0", deviceType=kind, selectors={"auxTypes": ["sf"]})


def test_1_8_the_whole_object_to_the_byte(node: facts.Machine) -> None:
    """The example of a ConnectX with everything, bound to vfio-pci."""
    node.sys.set_driver(address(B0), "vfio-pci")
    node.sys.set_iommu_group(address(B0), 169)
    entry = {"selectors": {"isRdma": True, "needVhostNet": True}, "additionalInfo": {"*": {"token": "3e49"}}}
    assert given(node, B0, **entry).envs["PCIDEVICE_INTEL_COM_A_INFO"] == (
        '{"0000:02:00.1":{"extra":{"token":"3e49"},"generic":{"deviceID":"0000:02:00.1"},'
        '"rdma":{"issm":"/dev/infiniband/issm3","rdma_cm":"/dev/infiniband/rdma_cm","rdma_dev":"mlx5_3",'
        '"umad":"/dev/infiniband/umad3","uverbs":"/dev/infiniband/uverbs3"},'
        '"vfio":{"dev-mount":"/dev/vfio/169","mount":"/dev/vfio/vfio"},'
        '"vhost":{"net-mount":"/dev/vhost-net","tun-mount":"/dev/net/tun"}}}'
    )


def test_1_8_additional_info(node: facts.Machine) -> None:
    """For all, then for one; an object even where nothing is said of a device; an SF is named by its parent."""
    extra = {"*": {"a": "1", "b": "1"}, A0: {"b": "2"}, "0000:02:00.0": {"c": "3"}}
    told = info(given(node, A0, A1, additionalInfo=extra))
    assert [told[one]["extra"] for one in (A0, A1)] == [{"a": "1", "b": "2"}, {"a": "1", "b": "1"}]
    assert info(given(node, A0, additionalInfo={"0000:99:00.0": {"a": "1"}}))[A0]["extra"] == {}
    sf = given(node, SF4, deviceType="auxNetDevice", selectors={"auxTypes": ["sf"]}, additionalInfo=extra)
    assert info(sf)[SF4]["extra"] == {"a": "1", "b": "1", "c": "3"}


def info_of(node: facts.Machine, one: str, **entry: object) -> object:
    made = pool(node, **entry)
    content = device_info.content(made, next(device for device in made.devices if device.id == one))
    return None if content is None else json.loads(content)


def test_1_9_device_info_of_a_vf_says_more_differs(node: facts.Machine) -> None:
    pf = address("0000:02:00.0")
    node.sys.set_netdev(pf, facts.PF1, sysfs.Netdev("enp2s0r0", 20, "02:00:00:00:00:20", 1500))
    node.sys.set_attribute(pf, "net/enp2s0r0/phys_port_name", "pf0vf0")
    assert info_of(node, B0, selectors={"isRdma": True, "needVhostNet": True}) == {
        "type": "pci",
        "version": "1.1.0",
        "pci": {
            "pci-address": B0,
            "vhost-net": "/dev/vhost-net",
            "rdma-device": "mlx5_3",
            "pf-pci-address": pf,
            "representor-device": "enp2s0r0",
        },
    }


def test_1_9_device_info_of_vdpa(node: facts.Machine) -> None:
    assert info_of(node, A2, selectors={"vdpaType": "vhost"}) == {
        "type": "vdpa",
        "version": "1.1.0",
        "vdpa": {
            "parent-device": "vdpa0",
            "driver": "vhost",
            "path": "/dev/vhost-vdpa-0",
            "pci-address": A2,
            "pf-pci-address": "0000:01:00.0",
        },
    }


def test_1_9_other_kinds_have_no_device_info(node: facts.Machine) -> None:
    assert info_of(node, FPGA, deviceType="accelerator") is None
    assert info_of(node, SF4, deviceType="auxNetDevice", selectors={"auxTypes": ["sf"]}) is None


def test_1_9_the_file_name(node: facts.Machine) -> None:
    made = pool(node, resourceName="net_a")
    assert device_info.file_name(made, made.devices[0]) == f"intel.com-net_a-{A0}-device.json"


@pytest.mark.parametrize(
    ("numa_node", "excluded", "told"), [(1, False, 1), (0, False, 0), (1, True, None), (-1, False, None)]
)
def test_1_10_numa(node: facts.Machine, numa_node: int, excluded: bool, told: int | None) -> None:
    node.sys.set_attribute(address(A0), "numa_node", numa_node)
    made = pool(node, excludeTopology=excluded, selectors={"pciAddresses": [A0]})
    assert [device.numa_node for device in made.devices] == [told]


@pytest.mark.parametrize(
    ("kind", "selectors", "named"),
    [
        ("netDevice", None, "net-pci"),
        ("accelerator", None, "net-accel"),
        ("auxNetDevice", {"auxTypes": ["sf"]}, "net-sf"),
    ],
)
def test_1_11_cdi_kinds(node: facts.Machine, kind: str, selectors: object, named: str) -> None:
    assert cdi.kind(pool(node, deviceType=kind, selectors=selectors).settings) == f"intel.com/{named}"


def test_1_11_the_spec_lists_devices_with_nodes(node: facts.Machine) -> None:
    made = pool(node, selectors=[{"isRdma": True, "pciAddresses": [B0]}, {"devices": ["10ca"]}])
    content = cdi.spec(made)
    assert content is not None
    assert json.loads(content) == {
        "cdiVersion": "0.5.0",
        "kind": "intel.com/net-pci",
        "devices": [
            {
                "name": B0,
                "containerEdits": {
                    "deviceNodes": [{"path": path, "hostPath": path, "permissions": "rw"} for path in RDMA]
                },
            }
        ],
    }
    assert cdi.spec(pool(node, selectors={"devices": ["10ca"]})) is None


def test_1_11_two_pools_share_no_annotation_differs(node: facts.Machine) -> None:
    listed = node.pools(
        {"resourceName": "a", "selectors": {"isRdma": True, "pciAddresses": [B0]}},
        {"resourceName": "b", "selectors": {"isRdma": True}},
    )
    answers = [allocation.answer(each, [each.devices[0].id], cdi.Delivery.ANNOTATIONS).annotations for each in listed]
    assert answers == [
        {"cdi.k8s.io/intel.com_a": f"intel.com/net-pci={B0}"},
        {"cdi.k8s.io/intel.com_b": f"intel.com/net-pci={B1}"},
    ]


def test_1_11_a_long_annotation_is_cut_and_unique() -> None:
    longest = [facts.pool(name="n" * 62 + end).settings for end in "ab"]
    keys = {key for settings in longest for key in cdi.annotations(settings, ["x"])}
    assert len(keys) == 2
    assert {len(key.partition("/")[2]) for key in keys} == {63}
