"""The device plugin's background work goes on after any failure; what the ledger has of a VF reaches the kubelet."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

import msgspec

from deviceplugin import plugin
from sriov import devices, settings
from sriov.daemon import background
from sriov.hardware import ddp
from sriov.state import ledger
from tests.deviceplugin import loops, test_plugin

VF = devices.pci_address("0000:01:10.0")
ASKING = [{"resourceName": "first", "selectors": [{"ddpProfiles": ["COMMS"]}, {"pfNames": ["enp1s0"]}]}]


def record(problem: str) -> ledger.Record:
    owner = ledger.Owner(container_id="c", ifname="net1", network="n", netns="/run/netns/x")
    return ledger.Record(pci=VF, owner=owner, netns=(0, 0), home=None, wanted=settings.BASELINE, mtu=0, problem=problem)


def test_a_failure_that_nobody_expected_is_told_and_the_node_is_looked_at_again(tmp_path: pathlib.Path) -> None:
    """Here devlink's socket, for which there is no descriptor."""
    refused: list[bool] = []

    @contextlib.contextmanager
    def devlink() -> Iterator[ddp.Ask]:
        if refused:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        yield lambda _: None

    async def whole() -> None:
        node = test_plugin.Node(tmp_path, 0.05, ASKING)
        usual = test_plugin.options(tmp_path, 0.05)
        where = msgspec.structs.replace(usual.node, devlink=devlink)
        running = plugin.Plugin(
            msgspec.structs.replace(usual, node=where, after_failures=background.RetryTimings(first=0.02, longest=0.1))
        )
        await node.kubelet.start()
        async with loops.running(running.run()) as task:
            await node.kubelet.wait_for("intel.com/first", 4)
            refused.append(True)
            await loops.until(lambda: bool(running.status().failing))
            assert "reading the node: failed" in running.status().problems[0]
            assert "Too many open files" in running.status().as_json.decode()
            node.tree.set_numvfs(node.first, 2)
            refused.clear()
            await node.kubelet.wait_for("intel.com/first", 2)
            await loops.until(lambda: not running.status().problems)
            assert not task.done()
        await node.kubelet.stop()

    loops.run(whole(), timeout=40)


def test_a_vf_that_could_not_be_taken_back_is_unhealthy_wherever_it_is(tmp_path: pathlib.Path) -> None:
    """No netdev: it is in its pod, or bound to vfio-pci."""

    async def body(node: test_plugin.Node) -> None:
        book = ledger.Ledger(tmp_path / "run")
        book.create()
        book.write(record(""))
        await node.counts(2, 0, 2)
        book.write(record("the kernel refused to move link 7"))
        listed = await node.kubelet.wait_for("intel.com/first", 1)
        assert [device.healthy for device in listed.values()] == [False, True]
        book.remove(VF)
        await node.counts(2, 0, 2)

    test_plugin.on_node(tmp_path, body, resync=0.1)
