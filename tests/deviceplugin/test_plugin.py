"""The whole device plugin in this process: a tree for hardware, the stand-in kubelet for the kubelet."""

import asyncio
import json
import pathlib
from collections.abc import Callable, Coroutine, Sequence

import grpc
import pytest

from deviceplugin import doors, handout, observer, plugin
from sriov import devices, uevents
from tests.deviceplugin import facts, loops
from tests.fakes import kubelet as fake

CONFIG = [
    {"resourceName": "first", "selectors": {"pfNames": ["enp1s0#0-1"]}},
    {"resourceName": "second", "selectors": {"pfNames": ["enp2s0"]}},
    {"resourceName": "rest"},
]


class Node:
    """Two NICs, of which one has 4 VFs, a kubelet, and a device plugin that is not running yet."""

    def __init__(self, root: pathlib.Path, resync: float, entries: Sequence[object] = CONFIG) -> None:
        self.machine = facts.Machine(root)
        self.tree = self.machine.sys
        self.first = self.tree.add_pf("0000:01:00.0", facts.PF0, numvfs=4)
        self.second = self.tree.add_pf("0000:02:00.0", facts.PF1)
        self.kubelet = fake.Kubelet(root / "kubelet")
        self.config = root / "etc/config.json"
        self.config.parent.mkdir()
        self.configure(*entries)
        self.plugin = plugin.Plugin(options(root, resync))

    def configure(self, *entries: object) -> None:
        self.config.write_text(json.dumps({"resourceList": entries}))

    async def counts(self, first: int, second: int, rest: int, timeout: float = 5.0) -> None:
        """Wait until the kubelet counts so many healthy devices in each pool."""
        for name, count in (("first", first), ("second", second), ("rest", rest)):
            await self.kubelet.wait_for(f"intel.com/{name}", count, timeout)


def options(root: pathlib.Path, resync: float) -> plugin.Options:
    """Everything below the folder."""
    return plugin.Options(
        root / "etc/config.json",
        "intel.com",
        doors.Direct(root / "kubelet/device-plugins"),
        observer.Node(facts.Machine(root).sys.tree, root / "proc", root / "dev", root / "run"),
        handout.Places(root / "devinfo", root / "cdi"),
        observer.Patience(link=0.2, cleanup=0.3),
        resync=resync,
    )


def on_node(
    root: pathlib.Path,
    body: Callable[[Node], Coroutine[object, object, None]],
    resync: float = 60.0,
    entries: Sequence[object] = CONFIG,
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
        await node.counts(2, 2, 2, timeout=2)
        await node.kubelet.request("intel.com/second", ["0000:02:10.0"])

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
        await node.counts(2, 2, 2, timeout=2)

    on_node(tmp_path, body)


def test_hardware_that_cannot_be_read_keeps_what_was_known(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(node: Node) -> None:
        await node.counts(2, 0, 2)
        bus = node.tree.root / "bus"
        bus.rename(tmp_path / "gone")
        await loops.until(lambda: "cannot read the hardware, keeping what was known" in caplog.text)
        assert [len(endpoint.said) for endpoint in node.kubelet.endpoints.values()] == [1, 1, 1]
        (tmp_path / "gone").rename(bus)
        node.tree.set_numvfs(node.second, 2)
        await node.counts(2, 2, 2)

    on_node(tmp_path, body, resync=0.1)


def test_d10_many_resources_and_kubelet_restarts_starve_nobody(tmp_path: pathlib.Path) -> None:
    """50 sockets; after three restarts every one is watched once and answers."""

    async def body(node: Node) -> None:
        for _ in range(3):
            await node.kubelet.wait_until(lambda: node.kubelet.streams == 50, timeout=10)
            await node.kubelet.restart()
        await node.kubelet.wait_until(lambda: node.kubelet.streams == 50, timeout=10)
        await node.kubelet.wait_for("intel.com/r0", 4)
        envs = await node.kubelet.allocate("p", "intel.com/r0", 1)
        assert envs["PCIDEVICE_INTEL_COM_R0"] == "0000:01:10.0"

    on_node(tmp_path, body, entries=[{"resourceName": f"r{number}"} for number in range(50)])
