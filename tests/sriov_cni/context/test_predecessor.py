"""A node changes over from sriov-cni while its pods run: their DEL is ours, and so is a VF whose pod has died."""

import asyncio
import dataclasses
import json
import os
import pathlib

import msgspec
import pytest

from sriov import settings
from sriov.state import predecessor
from sriov_cni.commands import dispatch
from sriov_cni.context import calls
from sriov_cni.shim import wire
from sriov_cni.spec import environment, netconf
from tests.fakes import bench


@dataclasses.dataclass(frozen=True, slots=True)
class Old:
    """A node with one VF in a pod, attached by sriov-cni: as it leaves the VF, and as it writes that down."""

    here: bench.Bench
    daemon: calls.Daemon
    folder: pathlib.Path
    before: object

    def delete(self, container_id: str = "old1") -> None:
        asyncio.run(self.call(environment.Command.DEL, container_id, {}))

    async def call(self, command: environment.Command, container_id: str, keys: dict[str, object]) -> bytes:
        network = {"cniVersion": "1.0.0", "name": "n1", "type": "sriov", "deviceID": self.here.vfs[0], **keys}
        invocation = environment.Invocation(command, container_id, "/run/netns/x", "net1")
        made = calls.Call(invocation, netconf.decode(json.dumps(network).encode()), self.here.pod, _no_ipam)
        return await dispatch.run(self.daemon, made)


async def _no_ipam(command: str, plugin: str) -> wire.Outcome:
    raise AssertionError((command, plugin))


@pytest.fixture
def old(tmp_path: pathlib.Path) -> Old:
    here = bench.make(tmp_path)
    folder = tmp_path / "sriov"
    (folder / "pci").mkdir(parents=True)
    before = here.machine.snapshot()
    with here.node.kernel() as net:
        index = net.link("enp1s0v0").index
        net.set_vf(net.link("enp1s0").index, 0, settings.VfSettings(vlan=100), {settings.Setting.VLAN})
        net.move(index, here.pod, "net1")
    (folder / "old1-net1").write_text(
        json.dumps(
            {
                "cniVersion": "1.0.0",
                "name": "n1",
                "type": "sriov",
                "deviceID": here.vfs[0],
                "vlan": 100,
                "Master": "enp1s0",
                "VFID": 0,
                "MTU": 1500,
                "OrigVfState": {"HostIFName": "enp1s0v0", "EffectiveMAC": "02:00:00:02:00:00", "MTU": 1500, "Vlan": 0},
            }
        )
    )
    (folder / "pci" / here.vfs[0]).write_text("/run/netns/x")
    daemon = calls.Daemon(here.node, here.book, upstream=predecessor.Upstream(folder))
    return Old(here, daemon, folder, before)


def test_a_del_brings_its_vf_home(old: Old) -> None:
    old.delete()
    assert old.here.machine.snapshot() == old.before
    assert [path.name for path in old.folder.rglob("*")] == ["pci"]
    old.delete()


def test_another_containers_del_touches_nothing(old: Old) -> None:
    old.delete("old2")
    assert old.here.in_pod().name == "net1"
    assert (old.folder / "old1-net1").exists()


def test_an_add_on_its_vf_is_refused_while_the_pod_lives(old: Old) -> None:
    with pytest.raises(Exception, match="held by container old1"):
        asyncio.run(old.call(environment.Command.ADD, "new", {}))


def test_a_dead_pods_vf_is_restored_before_it_is_handed_on(old: Old) -> None:
    old.here.machine.destroy("pod")
    fresh = dataclasses.replace(old.here, pod=old.here.machine.namespace("fresh"))
    asyncio.run(dataclasses.replace(old, here=fresh).call(environment.Command.ADD, "new", {}))
    record = old.here.book.read(old.here.vfs[0])
    assert record is not None
    assert record.home is not None
    assert (record.owner.container_id, record.home.name) == ("new", "enp1s0v0")
    assert old.here.vf_state() == msgspec.structs.replace(settings.BASELINE, mac=record.home.address)
    assert not (old.folder / "old1-net1").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"deviceID": "../../etc"}', '{"deviceID": 7}'])
def test_f8_an_unusable_record_is_no_record(old: Old, content: str) -> None:
    (old.folder / "old1-net1").write_text(content)
    assert predecessor.Upstream(old.folder).find("old1", "net1") is None
    assert predecessor.Upstream(old.folder).of_device(old.here.vfs[0]) is None


def test_f53_a_link_or_a_fifo_in_its_place_is_not_followed(old: Old) -> None:
    path = old.folder / "old1-net1"
    path.rename(old.folder / "elsewhere")
    path.symlink_to(old.folder / "elsewhere")
    assert predecessor.Upstream(old.folder).find("old1", "net1") is None
    path.unlink()
    os.mkfifo(path)
    assert predecessor.Upstream(old.folder).find("old1", "net1") is None


def test_a_folder_that_does_not_exist_is_an_empty_one(tmp_path: pathlib.Path) -> None:
    nothing = predecessor.Upstream(tmp_path / "absent")
    assert nothing.find("c", "net1") is None
