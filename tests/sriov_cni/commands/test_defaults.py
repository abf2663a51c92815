"""Declared defaults of a VF: a pod gets them unless its network names others, and a DEL leaves them."""

import dataclasses
import errno
import json
import pathlib

import msgspec
import pytest

from sriov import settings
from sriov_cni.context import policy
from tests.fakes import bench, drivers, world
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import IPAM, CniNode

DECLARED = settings.Switches(trust=True, spoofchk=False)
AT_REST = settings.VfSettings(trust=True, spoofchk=False)


def declare(here: bench.Bench, declared: settings.Switches = DECLARED) -> None:
    here.book.defaults.declare(here.node.tree, here.vfs[0], declared)


@pytest.mark.parametrize(
    ("keys", "given"),
    [
        ({}, AT_REST),
        ({"trust": "", "spoofchk": None}, AT_REST),
        ({"vlan": 100}, msgspec.structs.replace(AT_REST, vlan=100)),
        ({"spoofchk": "on"}, settings.VfSettings(trust=True)),
        ({"trust": "off"}, settings.VfSettings(spoofchk=False)),
        ({"trust": "off", "spoofchk": "on"}, bench.own()),
        ({"trust": "on", "spoofchk": "off"}, AT_REST),
    ],
)
def test_the_network_goes_first_then_what_is_declared(
    cni: CniNode, keys: dict[str, object], given: settings.VfSettings
) -> None:
    declare(cni.bench)
    network = cni.conf(**keys, ipam={"type": "fixed"})
    added = cni.client.call("ADD", network)
    assert (added.code, cni.bench.vf_state()) == (0, given)
    assert cni.client.call("CHECK", {**network, "prevResult": added.document}).code == 0
    for _ in range(2):
        assert cni.client.call("DEL", network).code == 0
        assert cni.bench.vf_state() == AT_REST


def test_what_is_declared_while_a_pod_has_the_vf_is_left_after_it(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    declare(cni.bench)
    assert cni.bench.vf_state() == bench.own()
    assert cni.client.call("DEL", cni.conf()).code == 0
    assert cni.bench.vf_state() == AT_REST


def test_an_add_that_fails_leaves_what_is_declared(cni: CniNode) -> None:
    declare(cni.bench)
    harness.ipam_plugin(cni.plugins, "full", 'echo \'{"code": 5, "msg": "full"}\'; [ $CNI_COMMAND != ADD ]')
    assert cni.client.call("ADD", cni.conf(trust="off", ipam={"type": "full"})).code == 5
    assert cni.bench.vf_state() == AT_REST
    assert list(cni.bench.book.records()) == []


def test_a_vf_with_a_userspace_driver_too(cni: CniNode) -> None:
    declare(cni.bench)
    cni.bench.machine.node.set_driver(cni.bench.vfs[0], "vfio-pci")
    cni.bench.machine.node.set_netdev(cni.bench.vfs[0])
    for command in ("ADD", "DEL"):
        assert cni.client.call(command, cni.conf()).code == 0
        assert cni.bench.vf_state() == AT_REST


def test_a_record_that_is_damaged_does_not_lose_it(cni: CniNode) -> None:
    declare(cni.bench)
    assert cni.client.call("ADD", cni.conf(trust="off", vlan=100)).code == 0
    (cni.client.socket.parent / f"run/vfs/{cni.vf}.json").write_text("{")
    assert cni.client.call("DEL", cni.conf()).code == 0
    assert cni.bench.vf_state() == AT_REST


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL, errno.EIO, errno.EBUSY])
@pytest.mark.parametrize(("key", "value"), [("spoofchk", "on"), ("spoofchk", "off"), ("trust", "on"), ("trust", "off")])
def test_a_switch_that_the_network_names_is_refused_by_name_at_every_value(
    cni: CniNode, key: str, value: str, code: int
) -> None:
    """A default too: who writes `spoofchk` on counts on it. A network that leaves the key out gets the VF."""
    table = cni.bench.machine.pf(2)
    assert table
    refused = frozenset({settings.Setting(key)})
    table.profile = dataclasses.replace(world.PERMISSIVE, unsupported=refused, refusal=code)
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("ADD", cni.conf(**{key: value}))
    assert answer.code in (2, 11, 100)
    assert key in answer.message
    assert (cni.bench.machine.snapshot(), list(cni.bench.book.records())) == (before, [])
    assert cni.client.call("ADD", cni.conf()).code == 0
    assert cni.client.call("DEL", cni.conf()).code == 0


def test_a_file_that_cannot_be_read_means_the_baseline(cni: CniNode, caplog: pytest.LogCaptureFixture) -> None:
    declare(cni.bench)
    (cni.client.socket.parent / f"run/defaults/{cni.vf}.json").write_text("{")
    for command in ("ADD", "DEL"):
        caplog.clear()
        assert cni.client.call(command, cni.conf()).code == 0
        assert cni.bench.vf_state() == (bench.own() if command == "ADD" else settings.BASELINE)
        assert f"the defaults of VF {cni.vf} cannot be read" in caplog.text


def test_the_policy_judges_what_the_network_asks_for(tmp_path: pathlib.Path) -> None:
    """That every pod of the PF is trusted is the operator's own decision; a network may not ask for it."""
    here = bench.make(tmp_path)
    declare(here)
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"rules": [{"trust": False, "spoofchkOff": False}]}))
    plugins = tmp_path / "plugins"
    harness.ipam_plugin(plugins, "fixed", f"[ $CNI_COMMAND != ADD ] || echo '{IPAM}'")
    client = harness.Client(tmp_path / "cni.sock", str(plugins), here.machine.path("pod"))
    with harness.daemon(here.node, here.book, client.socket, here.machine.adopt, guard=policy.Guard(path)):
        for keys, word in (({"trust": "on"}, "trust on"), ({"spoofchk": "off"}, "spoofchk off")):
            refused = client.call("ADD", harness.configuration(here.vfs[0], **keys))
            assert (refused.code, f"refuses {word}" in refused.message) == (7, True)
        assert client.call("ADD", harness.configuration(here.vfs[0])).code == 0
        assert here.vf_state() == AT_REST
        assert client.call("DEL", harness.configuration(here.vfs[0])).code == 0


def test_a_driver_that_has_come_to_refuse_it_does_not_hold_up_a_del(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where somebody has put mlx5's switch into switchdev mode under a pod."""
    here = bench.make(tmp_path, drivers.MLX5_SWITCHDEV)
    here.attach(here.request(settings.BASELINE))
    declare(here)
    here.detach(pod=here.pod)
    assert list(here.book.records()) == []
    assert f"VF {here.vfs[0]} is at the baseline and not as declared" in caplog.text
    assert (here.vf_state().trust, here.at_home("enp1s0v0").up) == (False, False)
