"""A pod on each driver's NIC: what it can have it gets, what it cannot is named, and nothing of it stays.

The drivers are those of tests/fakes/drivers.py, which says where their answers come from.
"""

import dataclasses
import errno
import pathlib
from typing import Any

import pytest

from sriov import errors, settings
from sriov.attachment import vf_config, wishes
from sriov.settings import LinkState, VlanProto
from tests.fakes import bench, drivers, world

EVERY_DRIVER = pytest.mark.parametrize("profile", drivers.ALL.values(), ids=drivers.ALL)
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("igb", {"link_state": LinkState.DISABLE}, "link_state disable"),
    ("igb", {"min_tx_rate": 10, "max_tx_rate": 20}, "min_tx_rate 10"),
    ("mlx5", {"vlan": 5, "proto": VlanProto.AD}, "vlanProto 802.1ad"),
    ("mlx5-switchdev", {"vlan": 5}, "vlan 5"),
    ("mlx5-switchdev", {"spoofchk": False}, "spoofchk off"),
    ("mlx5-switchdev", {"trust": True}, "trust on"),
    ("mlx5-switchdev", {"link_state": LinkState.ENABLE}, "link_state enable"),
    ("mlx5-managed-elsewhere", {"vlan": 5}, "vlan 5"),
    ("mlx5-managed-elsewhere", {"max_tx_rate": 100}, "max_tx_rate 100"),
    ("ice", {"vlan": 5, "proto": VlanProto.AD}, "vlanProto 802.1ad"),
    ("ice-with-dcb", {"min_tx_rate": 10}, "min_tx_rate 10"),
    ("i40e", {"min_tx_rate": 10}, "min_tx_rate 10"),
    ("bnxt", {"max_tx_rate": 40_000}, "max_tx_rate 40000"),
    ("bnxt-old", {"spoofchk": False}, "spoofchk off"),
]


@EVERY_DRIVER
def test_f35_a_pod_that_asks_for_nothing_gets_its_vf(tmp_path: pathlib.Path, profile: world.Profile) -> None:
    here = bench.make(tmp_path, profile)
    own = here.at_home("enp1s0v0")
    link = here.attach(here.request(settings.BASELINE))
    assert (link.address, link.up) == (own.address, True)
    assert is_let_out(here)
    assert_known_at(here, profile, settings.VfSettings(mac=own.address))
    here.detach(pod=here.pod)
    assert here.at_home("enp1s0v0") == own
    assert_known_at(here, profile, settings.BASELINE)


@EVERY_DRIVER
def test_f30_the_mac_that_is_asked_for_is_on_the_vf_and_gone_afterwards(
    tmp_path: pathlib.Path, profile: world.Profile
) -> None:
    here = bench.make(tmp_path, profile)
    own = here.at_home("enp1s0v0")
    assert here.attach(here.request(settings.VfSettings(mac=bench.MAC))).address == bench.MAC
    assert here.vf_state().mac == bench.MAC
    assert is_let_out(here)
    here.detach(pod=here.pod)
    assert here.at_home("enp1s0v0") == own
    assert here.vf_state().mac == settings.NO_MAC


@pytest.mark.parametrize(("name", "values", "words"), REFUSED)
def test_f35_what_a_driver_refuses_is_named_and_undone(
    tmp_path: pathlib.Path, name: str, values: dict[str, Any], words: str
) -> None:
    profile = drivers.ALL[name]
    here = bench.make(tmp_path, profile)
    own = here.at_home("enp1s0v0")
    with pytest.raises(errors.UnsupportedError, match=words):
        here.attach(here.request(settings.VfSettings(**values)))
    assert here.at_home("enp1s0v0") == own
    assert list(here.book.records()) == []
    assert_known_at(here, profile, settings.BASELINE)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, drivers.ENOTSUPP, errno.EPERM])
def test_a_setting_that_is_not_there_is_asked_for_once(tmp_path: pathlib.Path, code: int) -> None:
    """However the driver says so: the second pod's settings are one request."""
    profile = dataclasses.replace(drivers.MLX5_SWITCHDEV, refusal=code)
    here = bench.make(tmp_path, profile)
    table, unsupported = here.node.lookup(here.vfs[0]), vf_config.Unsupported()
    target = here.node.target(table, settings.NO_MAC)
    assert target is not None
    with here.node.kernel() as net:
        for expected in (1 + len(settings.EVERY_SETTING) + 1, 1):  # whether the VF is trusted is looked at
            here.machine.requests.clear()
            vf_config.state(net, target, wishes.Wish(settings.BASELINE), unsupported)
            assert len(here.machine.requests) == expected


def test_without_spoof_checking_a_vfs_own_mac_is_not_pinned(tmp_path: pathlib.Path) -> None:
    """A pod that is trusted with its address may change it."""
    here = bench.make(tmp_path, drivers.MLX5)
    here.attach(here.request(settings.VfSettings(spoofchk=False)))
    assert here.vf_state().mac == settings.NO_MAC
    assert is_let_out(here)


def is_let_out(here: bench.Bench) -> bool:
    slot = here.machine.netdevs(here.vfs[0])[0].slot
    assert slot is not None
    return here.machine.lets_out(*slot)


def assert_known_at(here: bench.Bench, profile: world.Profile, wanted: settings.VfSettings) -> None:
    """The VF is at `wanted` in everything that its driver knows."""
    found = here.vf_state()
    known = settings.EVERY_SETTING - profile.unsupported
    assert {each: found.value(each) for each in known} == {each: wanted.value(each) for each in known}
