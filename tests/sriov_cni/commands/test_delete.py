"""DEL in bad company: beside another call, beside a call that never ends, and of a VF that is nowhere."""

import asyncio
import concurrent.futures
import inspect
import json
import pathlib

import pytest

from sriov import settings
from sriov.attachment import node
from sriov_cni.commands import dispatch
from sriov_cni.context import calls, locks
from sriov_cni.shim import shim, wire
from sriov_cni.spec import cni_errors, environment, netconf
from tests.fakes import bench
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode


def deleting(here: bench.Bench, asked: list[str]) -> calls.Call:
    """A DEL of c1's net1 on the first VF; `asked` gets what the IPAM plugin is asked for."""

    async def ipam(command: str, _: str) -> wire.Outcome:
        asked.append(command)
        return wire.Outcome(0, b"")

    env = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_PATH": "/opt/cni/bin"}
    stdin = json.dumps(harness.configuration(here.vfs[0], ipam={"type": "pool"})).encode()
    return calls.Call(
        environment.invocation(env, environment.arguments(env.get("CNI_ARGS", ""))),
        netconf.decode(stdin),
        here.pod,
        ipam,
    )


def test_c50_a_del_does_not_wait_for_ever_for_another_call(tmp_path: pathlib.Path) -> None:
    """It says 11 in good time, and its retry goes on: the address is free by then, the VF is left to do."""
    here, asked = bench.make(tmp_path), list[str]()
    here.attach(here.request())
    daemon = calls.Daemon(here.node, here.book, vf_locks=locks.VfLocks(patience=0.01))

    async def twice() -> None:
        async with daemon.vf_locks.of(here.vfs[0]):
            with pytest.raises(cni_errors.CniError, match="another call has been working") as caught:
                await dispatch.run(daemon, deleting(here, asked))
            assert caught.value.code == cni_errors.Code.TRY_AGAIN
        assert asked == ["DEL"]
        assert list(here.book.records()) != []
        assert await dispatch.run(daemon, deleting(here, asked)) == b""

    asyncio.run(twice())
    assert list(here.book.records()) == []
    assert here.vf_state() == settings.BASELINE


def test_c50_what_a_del_may_wait_for_is_less_than_half_a_minute() -> None:
    """The VF's lock, the VF's way home, and a driver that is busy each time it is asked: rename, settings, address."""
    patience = inspect.signature(node.Node).parameters["patience"].default
    assert locks.VfLocks().patience + 3 * patience < 30


def test_f11_add_and_del_of_one_attachment_at_the_same_time(cni: CniNode) -> None:
    """As a runtime that lost patience calls again: each ends in success or in 11, and nothing is left of them.

    An ADD whose attachment a DEL has ended before its runtime heard of it is told so.
    """
    before = cni.bench.machine.snapshot()
    network = cni.conf(vlan=100, mac=bench.MAC, ipam={"type": "fixed"})
    commands_ = ["ADD", "DEL", "ADD", "DEL", "DEL"] * 8
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda command: cni.client.call(command, network), commands_))
    every = zip(commands_, answers, strict=True)
    outcomes = {(command, "late" if answer.status == shim.LATE else answer.code) for command, answer in every}
    assert outcomes & {("ADD", 0), ("ADD", "late")}
    assert outcomes <= {("ADD", 0), ("ADD", 11), ("ADD", "late"), ("DEL", 0), ("DEL", 11)}, answers
    held = list(cni.bench.book.records())
    if held:
        assert (cni.bench.in_pod().address, cni.bench.vf_state().vlan) == (bench.MAC, 100)
    else:
        assert cni.bench.machine.snapshot() == before
    assert cni.client.call("DEL", network).code == 0
    assert cni.bench.machine.snapshot() == before
    assert list(cni.bench.book.records()) == []


def test_f29_del_of_a_vf_whose_driver_has_lost_its_netdev(cni: CniNode) -> None:
    """It may be on its way home, so it is 11; the address is free at once, and the VF when it has a netdev again."""
    vf = cni.bench.vfs[0]
    network = cni.conf(vlan=100, mac=bench.MAC, ipam={"type": "fixed"})
    assert cni.client.call("ADD", network).code == 0
    own = cni.bench.book.identities.last(vf).address
    cni.bench.machine.unbind(vf)
    cni.bench.machine.node.set_driver(vf, "igbvf")
    answer = cni.client.call("DEL", network)
    assert (answer.code, "neither in the host nor in the pod" in answer.message) == (11, True)
    assert harness.ipam_calls(cni.plugins, "fixed") == ["ADD", "DEL"]
    assert cni.client.call("ADD", network, CONTAINERID="c2").code == 11
    cni.bench.machine.bind(vf)
    assert cni.client.call("DEL", network).code == 0
    assert (cni.bench.at_home("enp1s0v0").address, cni.bench.vf_state()) == (own, settings.BASELINE)
    assert list(cni.bench.book.records()) == []
