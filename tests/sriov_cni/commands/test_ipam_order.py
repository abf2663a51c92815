"""Place of the VF while an IPAM plugin works: beside the move for those that never look, else in the pod."""

import asyncio
import json
import pathlib

import pytest

from sriov.attachment import attach
from sriov_cni.commands import dispatch
from sriov_cni.context import calls, ipam
from sriov_cni.shim import wire
from sriov_cni.spec import environment, netconf
from tests.crash import executors
from tests.fakes import bench
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import IPAM, CniNode

LEASE = wire.Outcome(0, IPAM.encode())


class Plugin:
    """An IPAM plugin called `name`, and where the VF is each time it is asked. Answers DEL when `released` is set."""

    def __init__(self, here: bench.Bench, name: str, added: wire.Outcome = LEASE) -> None:
        self.here, self.name, self.added = here, name, added
        self.asked: list[tuple[str, str]] = []
        self.released = asyncio.Event()
        self.released.set()

    async def run(self, command: str, _: str) -> wire.Outcome:
        self.asked.append((command, "home" if self.here.node.tree.netdev(self.here.vfs[0]) else "pod"))
        if command == "ADD":
            return self.added
        await self.released.wait()
        return wire.Outcome(0, b"")

    def call(self, command: str, **keys: object) -> calls.Call:
        env = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_PATH": "/opt/cni/bin"}
        env["CNI_NETNS"] = self.here.machine.path("pod")
        stdin = json.dumps(harness.configuration(self.here.vfs[0], ipam={"type": self.name}, **keys)).encode()
        return calls.Call(
            environment.invocation(env, environment.arguments(env.get("CNI_ARGS", ""))),
            netconf.decode(stdin),
            self.here.pod,
            self.run,
        )


def threads_take_their_time() -> None:
    """So that what is asked beside the move is asked before it."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(executors.Later(loop, 4))


@pytest.fixture
def here(tmp_path: pathlib.Path) -> bench.Bench:
    return bench.make(tmp_path)


@pytest.mark.parametrize("name", ["dhcp", "spiderpool", "somebodys-own"])
def test_a_plugin_that_may_look_finds_the_vf_in_the_pod_at_add_and_at_del(here: bench.Bench, name: str) -> None:
    plugin, daemon = Plugin(here, name), calls.Daemon(here.node, here.book)

    async def through_its_life() -> None:
        threads_take_their_time()
        await dispatch.run(daemon, plugin.call("ADD"))
        await dispatch.run(daemon, plugin.call("DEL"))

    asyncio.run(through_its_life())
    assert plugin.asked == [("ADD", "pod"), ("DEL", "pod")]
    assert here.node.tree.netdev(here.vfs[0]) is not None


@pytest.mark.parametrize("name", sorted(ipam.WITHOUT_LINK))
def test_a_plugin_that_never_looks_is_asked_before_the_move(here: bench.Bench, name: str) -> None:
    plugin, daemon = Plugin(here, name), calls.Daemon(here.node, here.book)

    async def added() -> None:
        threads_take_their_time()
        await dispatch.run(daemon, plugin.call("ADD"))

    asyncio.run(added())
    assert plugin.asked == [("ADD", "home")]


def test_a_failed_add_is_undone_on_the_link_too(here: bench.Bench) -> None:
    """The VF leaves when the plugin has ended."""
    unreachable = IPAM.replace('"10.1.0.1"', '"192.0.2.9"').encode()
    plugin, daemon = Plugin(here, "dhcp", wire.Outcome(0, unreachable)), calls.Daemon(here.node, here.book)
    with pytest.raises(Exception, match="ENETUNREACH"):
        asyncio.run(dispatch.run(daemon, plugin.call("ADD")))
    assert plugin.asked == [("ADD", "pod"), ("DEL", "pod")]
    assert (here.node.tree.netdev(here.vfs[0]) is None, list(here.book.records())) == (False, [])


def test_an_add_that_nobody_heard_of_is_undone_on_the_link_too(here: bench.Bench) -> None:
    plugin, daemon = Plugin(here, "dhcp"), calls.Daemon(here.node, here.book)

    async def unheard() -> None:
        call = plugin.call("ADD")
        await dispatch.run(daemon, call)
        await dispatch.give_up(daemon, call)

    asyncio.run(unheard())
    assert plugin.asked == [("ADD", "pod"), ("DEL", "pod")]
    assert list(here.book.records()) == []


def test_gc_asks_the_plugin_before_vfs_leave(here: bench.Bench) -> None:
    plugin, daemon = Plugin(here, "dhcp"), calls.Daemon(here.node, here.book)

    async def collected() -> None:
        await dispatch.run(daemon, plugin.call("ADD"))
        await dispatch.run(daemon, plugin.call("GC", **{"cni.dev/valid-attachments": []}))

    with pytest.raises(Exception, match="GC of network"):  # the namespace of a pod in memory cannot be opened by path
        asyncio.run(collected())
    assert plugin.asked == [("ADD", "pod"), ("GC", "pod")]


def test_a_plugin_that_hangs_at_del_does_not_keep_the_vf(here: bench.Bench) -> None:
    plugin = Plugin(here, "dhcp")
    daemon = calls.Daemon(here.node, here.book, ipam_patience=0.05)

    async def hung() -> None:
        await dispatch.run(daemon, plugin.call("ADD"))
        plugin.released.clear()
        deleting = asyncio.create_task(dispatch.run(daemon, plugin.call("DEL")))
        async with asyncio.timeout(10):
            while list(here.book.records()):
                await asyncio.sleep(0.01)
        assert not deleting.done(), "the answer is the plugin's too"
        plugin.released.set()
        assert await deleting == b""

    asyncio.run(hung())


def test_f11_an_undone_add_leaves_the_address_of_the_interfaces_other_vf(here: bench.Bench) -> None:
    """A runtime that lost patience has made another ADD, of another VF, which goes by the same name."""
    plugin, daemon = (
        Plugin(here, "dhcp", wire.Outcome(1, b'{"code": 5, "msg": "late"}')),
        calls.Daemon(here.node, here.book),
    )
    with here.machine.namespace("other") as pod:
        attach.attach(here.node, here.book, here.request(vf=1), pod)
    with pytest.raises(Exception, match="late"):
        asyncio.run(dispatch.run(daemon, plugin.call("ADD")))
    assert plugin.asked == [("ADD", "pod")]


def test_the_plugins_error_says_whose_it_is(cni: CniNode) -> None:
    """As whereabouts without its file."""
    error = '{"code": 999, "msg": "config file not found"}'
    harness.ipam_plugin(cni.plugins, "whereabouts", f"echo '{error}'; exit 1")
    for command in ("ADD", "DEL"):
        answer = cni.client.call(command, cni.conf(ipam={"type": "whereabouts"}))
        assert (answer.code, answer.document["msg"]) == (999, "IPAM plugin 'whereabouts': config file not found")
