"""The whole device plugin in this process: a tree for hardware, the stand-in kubelet for the kubelet."""

import asyncio
import json
import logging
import pathlib
from collections.abc import Callable, Coroutine, Sequence

import grpc
import pytest

from deviceplugin import device_files, plugin, registration
from sriov import devices, settings
from sriov.hardware import sysfs, uevents
from sriov.pools import observer
from sriov.state import ledger, vf_identity
from tests.deviceplugin import loops
from tests.fakes import config_maps
from tests.fakes import kubelet as fake
from tests.sriov.pools import facts

CONFIG = [
    {"resourceName": "first", "selectors": {"pfNames": ["enp1s0#0-1"]}},
    {"resourceName": "second", "selectors": {"pfNames": ["enp2s0"]}},
    {"resourceName": "rest"},
]


class Node:
    """Two NICs, of which one has 4 VFs, a kubelet, and a device plugin that is not running yet."""

    def __init__(self, root: pathlib.Path, resync: float, entries: Sequence[object] | None = CONFIG) -> None:
        """Without entries there is no file yet, and the plugin waits for it."""
        self.machine = facts.Machine(root)
        self.tree = self.machine.sys
        self.first = self.tree.add_pf("0000:01:00.0", facts.PF0, numvfs=4)
        self.second = self.tree.add_pf("0000:02:00.0", facts.PF1)
        self.kubelet = fake.Kubelet(root / "kubelet")
        self.config = root / "etc/config.json"
        self.config.parent.mkdir()
        if entries is not None:
            self.configure(*entries)
        self.plugin = plugin.Plugin(options(root, resync, waits=entries is None))

    def configure(self, *entries: object) -> None:
        self.write(json.dumps({"resourceList": entries}))

    def write(self, text: str) -> None:
        """As editors do it: nobody finds half of a file."""
        draft = self.config.with_suffix(".draft")
        draft.write_text(text)
        draft.rename(self.config)

    async def counts(self, first: int, second: int, rest: int) -> None:
        """Wait until the kubelet counts so many healthy devices in each pool."""
        for name, count in (("first", first), ("second", second), ("rest", rest)):
            await self.kubelet.wait_for(f"intel.com/{name}", count)


def options(root: pathlib.Path, resync: float, *, waits: bool = False) -> plugin.Options:
    """Everything below the folder."""
    return plugin.Options(
        root / "etc/config.json",
        "intel.com",
        registration.Direct(root / "kubelet/device-plugins"),
        observer.ObservedNode(facts.Machine(root).sys.tree, root / "proc", root / "dev", root / "run"),
        device_files.FilePlaces(root / "devinfo", root / "cdi"),
        observer.Patience(link=0.25, cleanup=0.3),
        waits=waits,
        resync=resync,
    )


def on_node(
    root: pathlib.Path,
    body: Callable[[Node], Coroutine[object, object, None]],
    resync: float = 60.0,
    entries: Sequence[object] | None = CONFIG,
) -> None:
    async def whole() -> None:
        node = Node(root, resync, entries)
        await node.kubelet.start()
        try:
            async with loops.running(node.plugin.run()):
                await body(node)
        finally:
            await node.kubelet.stop()

    loops.run(whole(), timeout=60)


def test_every_resource_is_advertised_an_empty_one_too(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        assert sorted(node.kubelet.registrations) == ["intel.com/first", "intel.com/rest", "intel.com/second"]
        assert list(node.kubelet.resources["intel.com/first"]) == ["0000:01:10.0", "0000:01:10.2"]

    on_node(tmp_path, body)


def test_vfs_that_come_and_go_are_told_without_a_new_registration(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        node.tree.set_numvfs(node.second, 3)
        await node.counts(2, 3, 2)
        node.tree.set_numvfs(node.first, 1)
        await node.counts(1, 3, 0)
        assert len(node.kubelet.registrations) == 3

    on_node(tmp_path, body, resync=0.1)


def test_d28_d29_a_driver_that_goes_and_comes_back_changes_health_only(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        vf = devices.pci_address("0000:01:10.0")
        await node.counts(2, 0, 2)
        node.tree.set_driver(vf, None)
        listed = await node.kubelet.wait_for("intel.com/first", 1)
        assert [device.healthy for device in listed.values()] == [False, True]
        with pytest.raises(grpc.aio.AioRpcError, match="has no driver") as caught:
            await node.kubelet.request("intel.com/first", [vf])
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        node.tree.set_driver(vf, "vfio-pci")
        await node.counts(2, 0, 2)

    on_node(tmp_path, body, resync=0.1)


def test_d25_looking_again_at_the_same_hardware_says_nothing(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        await asyncio.sleep(0.6)
        assert [len(endpoint.said) for endpoint in node.kubelet.endpoints.values()] == [1, 1, 1]

    on_node(tmp_path, body, resync=0.05)


def test_d32_a_refused_request_is_followed_by_the_true_list(tmp_path: pathlib.Path) -> None:
    """No event told of the change, and the next resync is a minute away."""

    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        node.tree.set_numvfs(node.second, 2)
        with pytest.raises(grpc.aio.AioRpcError, match="has no device") as caught:
            await node.kubelet.request("intel.com/second", ["0000:02:10.0"])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        await node.counts(2, 2, 2)
        await node.kubelet.request("intel.com/second", ["0000:02:10.0"])

    on_node(tmp_path, body)


def test_a_vf_is_not_given_when_it_is_about_to_go_and_is_then_told_of(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The plugin has not heard of it yet."""
    caplog.set_level(logging.INFO)

    async def body(node: Node) -> None:
        first, second = map(devices.pci_address, ("0000:01:10.0", "0000:01:10.2"))
        await node.counts(2, 0, 2)
        link = node.tree.tree.pci(node.first) / "virtfn0"
        link.unlink()
        with pytest.raises(grpc.aio.AioRpcError, match="cannot be given: it is about to go") as caught:
            await node.kubelet.request("intel.com/first", [second])
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        await node.counts(0, 0, 0)
        assert set(node.kubelet.resources["intel.com/rest"]) == {"0000:01:10.4", "0000:01:10.6"}, "no VF moves"
        link.symlink_to(f"../{first}")
        node.tree.set_numvfs(node.first, 2)
        with pytest.raises(grpc.aio.AioRpcError):
            await node.kubelet.request("intel.com/first", [first])
        await node.counts(2, 0, 0)
        assert "0000:01:10.4 is gone" in caplog.text
        assert f"{second} is healthy again" in caplog.text
        await node.kubelet.request("intel.com/first", [first])

    on_node(tmp_path, body)


@pytest.mark.parametrize(
    ("event", "matters"),
    [
        (uevents.Event("bind", "pci", facts.vf().pci, facts.vf().pci), True),
        (uevents.Event("move", "net", facts.vf().pf, "enp1s0"), True),
        (uevents.Event("move", "net", facts.vf().pci, "eth0"), False),
        (uevents.Event("add", "net", None, "veth0"), False),
        (uevents.RESCAN, True),
    ],
)
def test_d25_what_every_pod_causes_is_no_reason_to_look(event: uevents.Event, matters: bool) -> None:
    assert observer.matters(event, {facts.vf().pci}) is matters


NEW = {"resourceName": "new", "selectors": {"pfNames": ["enp1s0#0"]}}


def test_a_new_configuration_changes_what_it_changes(tmp_path: pathlib.Path) -> None:
    """Devices move to a new resource; the other's registration, socket and stream notice nothing."""

    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        rest = node.kubelet.endpoints["intel.com/rest"]
        node.configure(NEW, *CONFIG)
        assert list(await node.kubelet.wait_for("intel.com/new", 1)) == ["0000:01:10.0"]
        await node.counts(1, 0, 2)
        assert node.kubelet.endpoints["intel.com/rest"] is rest
        assert len(rest.said) == 1
        assert len(node.kubelet.registrations) == 4

    on_node(tmp_path, body)


def test_a_device_leaves_its_old_resource_before_it_is_in_another(tmp_path: pathlib.Path) -> None:
    """Also where the new one comes first in the file."""

    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        seen: list[set[str]] = []

        def both() -> bool:
            first, rest = (set(node.kubelet.resources.get(f"intel.com/{name}", {})) for name in ("first", "rest"))
            seen.append(first & rest)
            return len(rest) == 4

        node.configure(*reversed(CONFIG))
        await node.kubelet.wait_until(both)
        assert set().union(*seen) == set()

    on_node(tmp_path, body)


def test_a_resource_that_is_removed_is_said_to_be_empty_and_then_withdrawn(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        rest = node.kubelet.endpoints["intel.com/rest"]
        node.configure(*CONFIG[:2])
        await loops.until(lambda: not (node.kubelet.folder / rest.name).exists())
        assert rest.watching is not None
        await rest.watching
        assert [len(said) for said in rest.said] == [2, 0, 0]  # the last is the kubelet's own, at the stream's end
        await node.counts(2, 0, 0)
        node.configure(*CONFIG)
        await node.counts(2, 0, 2)

    on_node(tmp_path, body)


def test_a_configmaps_symlinks_are_followed(tmp_path: pathlib.Path) -> None:
    """As the kubelet mounts one: the file is a link through ..data, and ..data is what is replaced."""

    def publish(version: str, *entries: object) -> None:
        folder = tmp_path / "etc" / version
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"resourceList": entries}))
        (tmp_path / "etc/..data_tmp").symlink_to(version)
        (tmp_path / "etc/..data_tmp").rename(tmp_path / "etc/..data")

    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        node.config.unlink()
        publish("..1", *CONFIG)
        node.config.symlink_to("..data/config.json")
        publish("..2", NEW, *CONFIG)
        await node.kubelet.wait_for("intel.com/new", 1)

    on_node(tmp_path, body)


def test_one_that_waits_follows_its_key_of_a_configmap(tmp_path: pathlib.Path) -> None:
    """Missing at first, empty, no configuration, wrong, right, empty again, without a resource, gone, and back."""
    nothing, previous = "nothing is advertised", "the previous configuration is in force"

    async def body(node: Node) -> None:
        volume = config_maps.ConfigMapVolume(node.config.parent, node.config.name)

        async def refused(text: str | None, says: str, state: str) -> None:
            volume.publish(text)
            await loops.until(lambda: says in "".join(node.plugin.status().problems))
            assert node.plugin.status().problems[0].startswith(f"config.json is invalid, {state}: {node.config}")

        await refused(None, "cannot be read: No such file or directory", nothing)
        await refused("", "is not JSON", nothing)
        await refused("[1]", "it must be an object", nothing)
        await refused('{"resourceList": [{"resourceName": "x_"}]}', "does not accept this name", nothing)
        assert node.kubelet.registrations == []
        volume.publish(json.dumps({"resourceList": CONFIG}))
        await node.counts(2, 0, 2)
        await loops.until(lambda: node.plugin.status().problems == [])
        await refused("", "is not JSON", previous)
        await node.counts(2, 0, 2)
        volume.publish('{"resourceList":null}')
        await node.counts(0, 0, 0)
        assert (node.plugin.status().resources, node.plugin.status().problems) == ((), [])
        await refused(None, "cannot be read", previous)
        volume.publish(json.dumps({"resourceList": CONFIG}))
        await node.counts(2, 0, 2)

    on_node(tmp_path, body, entries=None)


def test_a_bad_file_keeps_the_old_configuration_and_is_told_once(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        node.write('{"resourceList": [{"resourceName": "x_"}]}')
        await loops.until(lambda: node.plugin.status().config_error != "")
        await asyncio.sleep(0.5)  # some looks
        told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        (only,) = told
        place = (
            f'{node.config}: resourceList[0].resourceName is "x_": the kubelet does not accept this name; use 1 to 63'
        )
        assert only.startswith(f"config.json is invalid; keeping the previous configuration: {place}")
        assert "the previous configuration is in force" in node.plugin.status().problems[0]
        await node.counts(2, 0, 2)
        node.configure(NEW, *CONFIG)
        await node.kubelet.wait_for("intel.com/new", 1)
        assert node.plugin.status().config_error == ""
        await loops.until(lambda: node.plugin.status().problems == [])

    on_node(tmp_path, body, resync=0.1)


def test_a_file_that_is_gone_for_a_while_keeps_the_old_configuration(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        text = node.config.read_text()
        node.config.unlink()
        await loops.until(lambda: "cannot be read" in node.plugin.status().config_error)
        await node.counts(2, 0, 2)
        node.write(text)
        await loops.until(lambda: node.plugin.status().problems == [])
        assert len(node.kubelet.registrations) == 3

    on_node(tmp_path, body, resync=0.1)


def test_a_resource_that_is_published_for_claims_is_not_advertised_and_keeps_its_devices(
    tmp_path: pathlib.Path,
) -> None:
    """Switched over, its allocatable goes to 0 and its VFs are in no other resource; switched back, they are there."""
    claimed = [{"resourceName": "first", "selectors": {"pfNames": ["enp1s0#0-1"]}, "publish": "dra"}, CONFIG[2]]

    async def body(node: Node) -> None:
        await node.kubelet.wait_for("intel.com/first", 2)
        node.configure(*claimed)
        await node.kubelet.wait_for("intel.com/first", 0)
        await node.kubelet.wait_for("intel.com/rest", 2)
        assert [each.name for each in node.plugin.status().resources] == ["intel.com/rest"]
        assert node.plugin.status().problems == []
        node.configure(CONFIG[0], CONFIG[2])
        await node.kubelet.wait_for("intel.com/first", 2)
        assert list(node.kubelet.resources["intel.com/rest"]) == ["0000:01:10.4", "0000:01:10.6"]

    on_node(tmp_path, body, entries=[CONFIG[0], CONFIG[2]])


CHECKED = [{"resourceName": "first", "checkHealthOnPf": True}]


def test_d28_a_pf_without_carrier_and_back(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        await node.kubelet.wait_for("intel.com/first", 4)
        node.tree.set_attribute(node.first, "net/enp1s0/carrier", 0)
        assert len(await node.kubelet.wait_for("intel.com/first", 0)) == 4
        node.tree.set_attribute(node.first, "net/enp1s0/carrier", 1)
        await node.kubelet.wait_for("intel.com/first", 4)
        assert len(node.kubelet.registrations) == 1

    on_node(tmp_path, body, resync=0.1, entries=CHECKED)


def test_d28_a_link_that_flaps_says_nothing(tmp_path: pathlib.Path) -> None:
    async def body(node: Node) -> None:
        await node.kubelet.wait_for("intel.com/first", 4)
        for _ in range(10):
            node.tree.set_attribute(node.first, "net/enp1s0/carrier", 0)
            await loops.until(lambda: node.plugin._observer.next_look is not None)  # it has been seen
            node.tree.set_attribute(node.first, "net/enp1s0/carrier", 1)
            await loops.until(lambda: node.plugin._observer.next_look is None)
        await asyncio.sleep(0.3)
        assert len(node.kubelet.endpoints["intel.com/first"].said) == 1

    on_node(tmp_path, body, resync=0.05, entries=CHECKED)


def test_d29_a_vf_that_a_pod_left_behind_is_unhealthy_until_it_is_clean(tmp_path: pathlib.Path) -> None:
    """In the ledger while in a pod: healthy. In the ledger and at home for longer than a detach takes: not."""
    vf = devices.pci_address("0000:01:10.0")

    async def body(node: Node) -> None:
        book = ledger.Ledger(tmp_path / "run")
        book.create()
        book.write(record(vf))
        await node.counts(2, 0, 2)
        node.tree.set_netdev(vf, sysfs.Netdev("eth0", 30, "02:00:00:00:00:30", 1500))
        listed = await node.kubelet.wait_for("intel.com/first", 1)
        assert [device.healthy for device in listed.values()] == [False, True]
        book.remove(vf)
        await node.counts(2, 0, 2)

    on_node(tmp_path, body, resync=0.1)


def test_a_vf_whose_record_cannot_be_read_is_not_offered(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a pod's. A folder in the record's place cannot be read by root either."""
    vf = devices.pci_address("0000:01:10.0")
    place = tmp_path / "run/vfs" / f"{vf}.json"

    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        place.mkdir(parents=True)
        listed = await node.kubelet.wait_for("intel.com/first", 1)
        assert [device.healthy for device in listed.values()] == [False, True]
        assert f"has a record of a pod that cannot be read: cannot read {place}: Is a directory" in caplog.text
        place.rmdir()
        await node.counts(2, 0, 2)

    on_node(tmp_path, body, resync=0.1)


def record(vf: devices.PciAddress) -> ledger.Record:
    owner = ledger.Owner(container_id="c", ifname="net1", network="n", netns="/run/netns/x")
    home = vf_identity.VfIdentity(name="enp1s0v0", address="02:00:00:00:00:10", mtu=1500)
    return ledger.Record(pci=vf, owner=owner, netns=(1, 2), home=home, wanted=settings.VfSettings(), mtu=1500)


def test_d29_a_driver_that_is_gone_keeps_the_vf_in_the_resource_that_selects_by_driver(tmp_path: pathlib.Path) -> None:
    entries = [
        {"resourceName": "first", "selectors": {"drivers": ["igbvf"]}},
        {"resourceName": "second", "selectors": {"drivers": ["vfio-pci"]}},
    ]
    vf = devices.pci_address("0000:01:10.0")

    async def body(node: Node) -> None:
        await node.kubelet.wait_for("intel.com/first", 4)
        node.tree.set_driver(vf, None)
        assert len(await node.kubelet.wait_for("intel.com/first", 3)) == 4
        node.tree.set_driver(vf, "vfio-pci")
        assert list(await node.kubelet.wait_for("intel.com/second", 1)) == [vf]
        assert len(await node.kubelet.wait_for("intel.com/first", 3)) == 3

    on_node(tmp_path, body, resync=0.1, entries=entries)


def test_what_carries_the_hosts_traffic_is_told_once(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        vf = devices.pci_address("0000:01:10.0")
        node.tree.set_netdev(vf, sysfs.Netdev("enp1s0v0", 30, "02:00:00:00:00:30", 1500))
        node.machine.proc.route("enp1s0v0", "0.0.0.0/0")
        await node.counts(1, 0, 2)
        await asyncio.sleep(0.3)
        told = [record.getMessage() for record in caplog.records if "not offered" in record.getMessage()]
        assert told == [
            f"{vf} is not offered, it carries traffic of the host: enp1s0v0 carries the host's default route (IPv4)"
        ]

    on_node(tmp_path, body, resync=0.1)


def test_d39_device_info_is_written_at_allocate_and_outlives_the_plugin(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "devinfo/intel.com-first-0000:01:10.0-device.json"

    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        assert not path.exists()
        await node.kubelet.allocate("p", "intel.com/first", 1)
        assert json.loads(path.read_text())["pci"] == {"pci-address": "0000:01:10.0", "pf-pci-address": node.first}
        assert path.stat().st_mode & 0o777 == 0o444
        await node.kubelet.request("intel.com/first", ["0000:01:10.0"])

    on_node(tmp_path, body)
    assert path.exists()


@pytest.mark.root
def test_a_uevent_makes_it_look(tmp_path: pathlib.Path) -> None:
    """The kernel is asked to tell of a device of this machine again, whichever it is."""
    device = next(pathlib.Path("/sys/bus/pci/devices").glob("*/uevent"), None)
    if device is None:
        pytest.skip("this machine has no PCI device")

    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        node.tree.set_numvfs(node.second, 2)
        device.write_text("change")
        await node.counts(2, 2, 2)

    on_node(tmp_path, body)


def test_hardware_that_cannot_be_read_keeps_what_was_known(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        bus = node.tree.root / "bus"
        bus.rename(tmp_path / "gone")
        await loops.until(lambda: "cannot read the hardware; keeping the last known state" in caplog.text)
        assert [len(endpoint.said) for endpoint in node.kubelet.endpoints.values()] == [1, 1, 1]
        (tmp_path / "gone").rename(bus)
        node.tree.set_numvfs(node.second, 2)
        await node.counts(2, 2, 2)

    on_node(tmp_path, body, resync=0.1)


def test_d10_many_resources_and_kubelet_restarts_starve_nobody(tmp_path: pathlib.Path) -> None:
    """50 sockets; after three restarts every one is watched once and answers."""

    async def body(node: Node) -> None:
        for _ in range(3):
            await node.kubelet.wait_until(lambda: node.kubelet.streams == 50)
            await node.kubelet.restart()
        await node.kubelet.wait_until(lambda: node.kubelet.streams == 50)
        await node.kubelet.wait_for("intel.com/r0", 4)
        envs = await node.kubelet.allocate("p", "intel.com/r0", 1)
        assert envs["PCIDEVICE_INTEL_COM_R0"] == "0000:01:10.0"

    on_node(tmp_path, body, entries=[{"resourceName": f"r{number}"} for number in range(50)])
