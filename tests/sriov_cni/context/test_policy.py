"""The node's policy: what it refuses, how it says so, and that a broken one opens nothing."""

import json
import pathlib

import pytest

from sriov import devices, settings
from sriov.hardware import inventory
from sriov_cni.context import policy
from sriov_cni.spec import cni_errors
from tests.fakes import bench


@pytest.fixture
def vf(tmp_path: pathlib.Path) -> devices.VF:
    here = bench.make(tmp_path)
    return inventory.lookup(here.node.tree, here.vfs[0])


def guard(folder: pathlib.Path, rules: object) -> policy.Guard:
    path = folder / "policy.json"
    path.write_text(json.dumps({"rules": rules}))
    return policy.Guard(path)


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


def test_f53_a_file_that_others_can_write_is_refused(tmp_path: pathlib.Path, vf: devices.VF) -> None:
    watched = guard(tmp_path, [{}])
    (tmp_path / "policy.json").chmod(0o664)
    with pytest.raises(cni_errors.CniError, match="users other than its owner can change it"):
        watched.check(vf, settings.BASELINE)
