"""The node's policy: what it refuses, how it says so, and that a broken one opens nothing and closes nothing."""

import ipaddress
import json
import logging
import os
import pathlib
from collections.abc import Callable
from typing import ClassVar

import pytest

from sriov import devices, settings
from sriov.hardware import inventory
from sriov_cni.context import policy, policy_rules
from sriov_cni.spec import cni_errors
from sriov_cni.spec.service_modes import ServicesMode
from tests.fakes import bench


@pytest.fixture
def vf(tmp_path: pathlib.Path) -> devices.VF:
    here = bench.make(tmp_path)
    return inventory.lookup(here.node.tree, here.vfs[0])


def guard(folder: pathlib.Path, rules: object) -> policy.Guard:
    path = folder / "policy.json"
    path.write_text(json.dumps({"rules": rules}))
    return policy.Guard(path)


SOCKET = policy_rules.Membership(ServicesMode.SOCKET)


def linked(*via: str) -> policy_rules.Membership:
    return policy_rules.Membership(host_link=True, via=tuple(map(ipaddress.ip_network, via)))


WANTED = settings.VfSettings(vlan=150, mac="02:00:00:00:00:01")


@pytest.mark.parametrize(
    ("rule", "wanted", "refused"),
    [
        ({}, settings.VfSettings(trust=True, spoofchk=False, vlan=4094), None),
        ({"vlans": ["100-199"]}, WANTED, None),
        ({"vlans": ["100-149", "150"]}, WANTED, None),
        ({"vlans": ["100-149"]}, WANTED, "vlan 150: it allows 100-149"),
        ({"vlans": ["100-199"]}, settings.BASELINE, "vlan 0: it allows 100-199"),
        ({"vlans": []}, settings.BASELINE, "vlan 0: it allows "),
        ({"trust": False}, settings.VfSettings(trust=True), "trust on"),
        ({"trust": False}, WANTED, None),
        ({"spoofchkOff": False}, settings.VfSettings(spoofchk=False), "spoofchk off"),
        ({"macPrefixes": ["02:00", "0a"]}, WANTED, None),
        ({"macPrefixes": ["06:00"]}, WANTED, "mac 02:00:00:00:00:01: it allows 06:00"),
        ({"macPrefixes": ["06:00"]}, settings.BASELINE, None),
        ({"pfs": ["enp1s0"], "vlans": ["1"]}, WANTED, "vlan 150"),
        ({"pfs": ["0000:01:00.0"], "vlans": ["1"]}, WANTED, "vlan 150"),
        ({"pfs": ["other"]}, WANTED, "every VF of PF enp1s0: no rule names it"),
    ],
)
def test_f52_a_rule(
    tmp_path: pathlib.Path, vf: devices.VF, rule: object, wanted: settings.VfSettings, refused: str | None
) -> None:
    check = guard(tmp_path, [rule]).check
    if refused is None:
        check(vf, wanted)
        return
    with pytest.raises(cni_errors.CniError, match="policy") as caught:
        check(vf, wanted)
    assert caught.value.code == 7
    assert f"refuses {refused}" in caught.value.message


@pytest.mark.parametrize(
    ("rules", "mode", "refused"),
    [
        ([{}], SOCKET, None),
        ([{"services": ["socket"]}], SOCKET, None),
        ([{"services": ["socket"]}], policy_rules.NOTHING, 'services "off": it allows socket'),
        ([{"services": ["off"]}], SOCKET, 'services "socket": it allows off'),
        ([{"services": ["off", "socket"]}], policy_rules.NOTHING, None),
        ([{"pfs": ["other"], "services": ["off"]}, {}], SOCKET, None),
        ([{"hostLink": [False]}], linked(), "hostLink"),
        ([{"hostLink": [False]}], policy_rules.NOTHING, None),
        ([{"hostLink": [True]}], policy_rules.NOTHING, "a network without hostLink"),
        ([{"hostLink": [True, False]}], linked(), None),
        ([{"viaHost": ["10.0.0.0/8"]}], linked("10.244.0.0/16", "10.0.0.0/8"), None),
        ([{"viaHost": ["10.0.0.0/8", "fd00::/8"]}], linked("fd00:1::/32"), None),
        ([{"viaHost": ["10.0.0.0/8"]}], linked("0.0.0.0/0"), "viaHost 0.0.0.0/0: it allows 10.0.0.0/8"),
        ([{"viaHost": ["10.0.0.0/8"]}], linked("::/0"), "viaHost ::/0: it allows 10.0.0.0/8"),
        ([{"viaHost": []}], linked("10.0.0.0/8"), "viaHost 10.0.0.0/8: it allows none"),
        ([{"viaHost": []}], linked(), None),
    ],
)
def test_membership_of_the_cluster_is_forbidden_or_demanded(
    tmp_path: pathlib.Path, vf: devices.VF, rules: object, mode: policy_rules.Membership, refused: str | None
) -> None:
    check = guard(tmp_path, rules).check
    if refused is None:
        check(vf, WANTED, mode)
        return
    with pytest.raises(cni_errors.CniError) as caught:
        check(vf, WANTED, mode)
    assert (caught.value.code, f"refuses {refused}" in caught.value.message) == (7, True)


def test_defaults_alone_limit_nothing(tmp_path: pathlib.Path, vf: devices.VF) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"defaults": {"services": "socket"}}')
    watched = policy.Guard(path)
    watched.check(vf, WANTED)
    assert watched.defaults == policy_rules.NetworkDefaults(ServicesMode.SOCKET)
    path.unlink()
    assert watched.defaults == policy_rules.NetworkDefaults(ServicesMode.OFF)


def test_the_first_rule_that_names_the_pf_decides(tmp_path: pathlib.Path, vf: devices.VF) -> None:
    rules = [{"pfs": ["other"], "vlans": ["1"]}, {"pfs": ["enp1s0"], "vlans": ["150"]}, {"vlans": ["0"]}]
    guard(tmp_path, rules).check(vf, WANTED)


def test_without_a_file_everything_is_allowed(tmp_path: pathlib.Path, vf: devices.VF) -> None:
    policy.Guard(tmp_path / "absent").check(vf, WANTED)


def test_a_changed_file_counts_at_once(tmp_path: pathlib.Path, vf: devices.VF) -> None:
    watched = guard(tmp_path, [{"vlans": ["150"]}])
    watched.check(vf, WANTED)
    new = tmp_path / "new.json"
    new.write_text(json.dumps({"rules": [{"vlans": ["1"]}]}))
    new.rename(tmp_path / "policy.json")
    with pytest.raises(cni_errors.CniError, match="refuses vlan 150"):
        watched.check(vf, WANTED)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "truncated"),
        ("{}", "neither `rules` nor `defaults`"),
        ('{"rules": null}', "Expected `array`"),
        ('{"rules": [{"services": ["sockets"]}]}', "Invalid enum value 'sockets'"),
        ('{"defaults": {"service": "socket"}}', "unknown field `service`"),
        ('{"defaults": {"hostLink": "a/b"}}', "defaults: hostLink 'a/b'"),
        ('{"defaults": {"hostLink": true, "viaHost": ["10.0.0/8"]}}', "defaults: viaHost '10.0.0/8'"),
        ('{"defaults": {"viaHost": ["10.0.0.0/8"]}}', "defaults: viaHost needs hostLink"),
        ('{"defaults": {"hostLinkUdp": true}}', "defaults: hostLinkUdp needs hostLink"),
        ('{"defaults": {"hostLink": true, "hostLinkUdp": "on"}}', "Expected `bool`, got `str`"),
        (
            '{"rules": [{"services": ["auto"]}]}',
            'services "auto" is never in effect: name the modes that it may choose',
        ),
        ('{"rules": [{}, {"services": ["socket", "auto"]}]}', 'services "auto" is never in effect'),
        ('{"defaults": {"policy": "calico"}}', "Invalid enum value 'calico'"),
        ('{"defaults": {"policyRaw": "on"}}', "Expected `bool`, got `str`"),
        ('{"rules": [{"policyUnknown": ["open"]}]}', "Invalid enum value 'open'"),
        ('{"rules": [{"policyRaw": true}]}', "Expected `array | null`, got `bool`"),
        ('{"rules": [{"viaHost": ["10.0.0/8"]}]}', "'10.0.0/8' does not appear to be an IPv4 or IPv6 network"),
        ('{"rules": [{"vlan": ["1"]}]}', "unknown field `vlan`"),
        ('{"rules": [{"vlans": ["1-"]}]}', "vlans '1-' is neither a VLAN nor a range"),
        ('{"rules": [{"vlans": [1]}]}', "Expected `str`"),
        ('{"rules": [{"macPrefixes": ["02:0"]}]}', "macPrefixes '02:0'"),
    ],
)
def test_a_file_that_cannot_be_used_refuses_everything(
    tmp_path: pathlib.Path, vf: devices.VF, text: str, says: str
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(cni_errors.CniError, match="cannot be used") as caught:
        policy.Guard(path).check(vf, settings.BASELINE)
    assert says in caught.value.message


def a_folder(path: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_to_itself(path: pathlib.Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


BAD: list[Callable[[pathlib.Path], object]] = [
    lambda path: path.write_text("{}"),
    lambda path: path.write_text(""),
    lambda path: path.chmod(0o666),
    a_folder,
    a_link_to_itself,
]
"""How a good file turns bad: no policy, cut off, anybody's, and what is no file."""


@pytest.mark.parametrize("turn_bad", BAD)
def test_a_file_that_turns_bad_leaves_the_last_good_policy_in_force(
    tmp_path: pathlib.Path, vf: devices.VF, turn_bad: Callable[[pathlib.Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    watched = guard(tmp_path, [{"vlans": ["150"]}])
    assert watched.problem() is None
    turn_bad(tmp_path / "policy.json")
    for _ in range(3):
        watched.check(vf, WANTED)
        with pytest.raises(cni_errors.CniError, match="refuses vlan 0"):
            watched.check(vf, settings.BASELINE)
    said = watched.problem()
    assert said is not None
    assert said.startswith(f"the node's policy {tmp_path}/policy.json cannot be used: ")
    assert said.endswith("; the last good one stays in force")
    logged = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.getMessage() for each in logged] == [said], "once for a change"


def test_a_good_file_ends_it_and_each_bad_one_is_logged(
    tmp_path: pathlib.Path, vf: devices.VF, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watched = guard(tmp_path, [{"vlans": ["150"]}])
    for text in ("{}", '{"rules": [{"vlan": ["1"]}]}', '{"rules": [{"vlans": ["1"]}, {}]}'):
        (tmp_path / "policy.json").write_text(text)
        watched.problem()
    assert watched.problem() is None
    with pytest.raises(cni_errors.CniError, match="refuses vlan 150"):
        watched.check(vf, WANTED)
    assert [each.levelname for each in caplog.records] == ["INFO", "ERROR", "ERROR", "INFO"]
    assert caplog.messages[-1].endswith("is in force, it has 2 rules")


def test_a_daemon_that_starts_with_a_bad_file_refuses_everything_until_it_is_good(
    tmp_path: pathlib.Path, vf: devices.VF
) -> None:
    """The last good policy is no file: what was in force before the start is not known."""
    guard(tmp_path, [{"vlans": ["150"]}])
    (tmp_path / "policy.json").write_text("{}")
    restarted = policy.Guard(tmp_path / "policy.json")
    with pytest.raises(cni_errors.CniError, match="cannot be used"):
        restarted.check(vf, WANTED)
    assert str(restarted.problem()).endswith("; every ADD is refused")
    guard(tmp_path, [{"vlans": ["150"]}])
    restarted.check(vf, WANTED)


def test_a_removed_file_allows_everything_and_keeps_nothing_for_a_bad_one(
    tmp_path: pathlib.Path, vf: devices.VF, caplog: pytest.LogCaptureFixture
) -> None:
    watched = guard(tmp_path, [{"vlans": ["1"]}])
    (tmp_path / "policy.json").unlink()
    watched.check(vf, WANTED)
    watched.check(vf, WANTED)
    assert watched.problem() is None
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING] == [
        f"the node's policy {tmp_path}/policy.json is gone: everything is allowed"
    ]
    (tmp_path / "policy.json").write_text("{}")
    with pytest.raises(cni_errors.CniError, match="cannot be used"):
        watched.check(vf, WANTED)


def test_what_the_kubelet_swaps_in_a_volume_counts_at_once(tmp_path: pathlib.Path, vf: devices.VF) -> None:
    """A ConfigMap's files are links through one link, which is renamed: there is a file at any moment."""

    def swap(number: int, rules: str) -> None:
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}/policy.json").write_text(rules)
        (tmp_path / "..tmp").symlink_to(f"..{number}")
        (tmp_path / "..tmp").rename(tmp_path / "..data")

    (tmp_path / "policy.json").symlink_to("..data/policy.json")
    swap(1, '{"rules": [{"vlans": ["150"]}]}')
    watched = policy.Guard(tmp_path / "policy.json")
    watched.check(vf, WANTED)
    swap(2, '{"rules": [{"vlans": ["1"]}]}')
    with pytest.raises(cni_errors.CniError, match="refuses vlan 150"):
        watched.check(vf, WANTED)
    swap(3, '{"rulse": []}')
    with pytest.raises(cni_errors.CniError, match="refuses vlan 150: it allows 1"):
        watched.check(vf, WANTED)
    assert "unknown field `rulse`" in str(watched.problem())


class Counted(type(pathlib.Path())):  # type: ignore[misc]
    """A path that counts what is asked of its file."""

    asked: ClassVar[list[str]] = []

    def stat(self, **flags: bool) -> os.stat_result:
        self.asked.append("stat")
        found: os.stat_result = super().stat(**flags)
        return found

    def open(self, *arguments: object, **flags: object) -> object:
        self.asked.append("open")
        return super().open(*arguments, **flags)


@pytest.mark.parametrize("text", ['{"rules": [{}]}', "{}"])
def test_a_check_asks_once_whether_the_file_is_another(tmp_path: pathlib.Path, vf: devices.VF, text: str) -> None:
    guard(tmp_path, [{}])
    watched = policy.Guard(Counted(tmp_path / "policy.json"))
    (tmp_path / "policy.json").write_text(text)
    watched.check(vf, WANTED)
    Counted.asked.clear()
    for _ in range(5):
        watched.check(vf, WANTED)
    assert Counted.asked == ["stat"] * 5


def test_a_link_to_a_file_that_is_not_there_is_no_missing_policy(tmp_path: pathlib.Path, vf: devices.VF) -> None:
    """As if the file system that has it were not mounted."""
    (tmp_path / "policy.json").symlink_to(tmp_path / "real.json")
    began = policy.Guard(tmp_path / "policy.json")
    with pytest.raises(cni_errors.CniError, match="it is a link to a file that is not there"):
        began.check(vf, settings.BASELINE)
    (tmp_path / "real.json").write_text('{"rules": [{"vlans": ["100"]}]}')
    began.check(vf, settings.VfSettings(vlan=100))
    (tmp_path / "real.json").unlink()
    assert "the last good one stays in force" in (began.problem() or "")
    with pytest.raises(cni_errors.CniError, match="refuses"):
        began.check(vf, settings.VfSettings(vlan=101))


def test_a_fifo_in_its_place_makes_nobody_wait(tmp_path: pathlib.Path, vf: devices.VF) -> None:
    os.mkfifo(tmp_path / "policy.json", 0o600)
    with pytest.raises(cni_errors.CniError, match="it is no regular file"):
        policy.Guard(tmp_path / "policy.json").check(vf, settings.BASELINE)


def test_f53_a_file_that_others_can_write_is_refused(tmp_path: pathlib.Path, vf: devices.VF) -> None:
    guard(tmp_path, [{}])
    (tmp_path / "policy.json").chmod(0o664)
    with pytest.raises(cni_errors.CniError, match="users other than its owner can change it"):
        policy.Guard(tmp_path / "policy.json").check(vf, settings.BASELINE)
