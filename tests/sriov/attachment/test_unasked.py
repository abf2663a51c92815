"""A value that nobody asked for fails no pod, whatever a driver answers to it; nor does a former owner's value."""

import dataclasses
import errno
import pathlib

import msgspec
import pytest

from sriov import devices, errors, settings
from sriov.attachment import attach, detach, vf_config, wishes
from sriov.linux import kernel
from sriov.settings import Setting
from sriov.state import ledger
from tests.fakes import bench, drivers, world

PF = devices.pci_address("0000:01:00.0")
SAID = [errno.EOPNOTSUPP, 524, errno.EPERM, errno.EINVAL, errno.EIO, errno.EBUSY, errno.EAGAIN, errno.EACCES,
        errno.ERANGE, errno.EADDRNOTAVAIL, errno.ENOMEM]  # fmt: skip
EVERY_DRIVER = pytest.mark.parametrize("profile", drivers.ALL.values(), ids=drivers.ALL)


def refusing(setting: Setting, code: int) -> world.Profile:
    return dataclasses.replace(world.PERMISSIVE, unsupported=frozenset({setting}), refusal=code)


@pytest.mark.slow
@pytest.mark.parametrize("setting", sorted(settings.EVERY_SETTING, key=str))
@pytest.mark.parametrize("code", SAID)
@pytest.mark.parametrize("fresh", [settings.BASELINE, settings.VfSettings(spoofchk=False)])
def test_whatever_a_driver_says_to_what_nobody_asked_for(
    tmp_path: pathlib.Path, setting: Setting, code: int, fresh: settings.VfSettings
) -> None:
    here = bench.make(tmp_path, dataclasses.replace(refusing(setting, code), fresh=fresh))
    own = here.at_home("enp1s0v0")
    for _ in range(2):
        link = here.attach(here.request(settings.BASELINE))
        assert (link.address, link.up) == (own.address, True)
        record = here.book.read(here.vfs[0])
        assert record is not None
        assert record.passed_over is not None
        assert setting in record.passed_over
        here.detach(pod=here.pod)
        assert here.at_home("enp1s0v0") == own
        assert list(here.book.records()) == []


@pytest.mark.parametrize("code", SAID)
@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (settings.VfSettings(vlan=5), "vlan"),
        (settings.VfSettings(spoofchk=False), "spoofchk"),
        (settings.VfSettings(trust=True), "trust"),
        (settings.VfSettings(max_tx_rate=5), "tx_rate"),
        (settings.VfSettings(link_state=settings.LinkState.DISABLE), "link_state"),
        (settings.VfSettings(mac=bench.MAC), "mac"),
    ],
)
def test_what_was_asked_for_is_refused_by_name(
    tmp_path: pathlib.Path, code: int, wanted: settings.VfSettings, words: str
) -> None:
    [setting] = settings.asked(wanted)
    here = bench.make(tmp_path, refusing(setting, code))
    own = here.at_home("enp1s0v0")
    with pytest.raises(errors.SriovError, match=words):
        here.attach(here.request(wanted))
    assert (here.at_home("enp1s0v0"), list(here.book.records())) == (own, [])


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (Setting.VLAN, settings.VfSettings(vlan=5)),
        (Setting.TRUST, settings.VfSettings(trust=True)),
        (Setting.RATE, settings.VfSettings(max_tx_rate=5)),
    ],
)
@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EIO, errno.EBUSY])
def test_what_a_lost_owner_left_and_cannot_be_taken_back_is_given_to_nobody(
    tmp_path: pathlib.Path, setting: Setting, left: settings.VfSettings, code: int
) -> None:
    here = bench.make(tmp_path, refusing(setting, code))
    own = here.at_home("enp1s0v0")
    here.machine.administer(2, 0, left)
    with pytest.raises(errors.KernelError, match=setting.value):
        here.attach(here.request(settings.BASELINE))
    assert here.at_home("enp1s0v0") == own
    assert [record.pci for record in here.book.records()] == [here.vfs[0]], "for whoever repairs it"


@pytest.mark.parametrize(
    "wanted",
    [
        settings.VfSettings(vlan=5),
        settings.VfSettings(trust=True),
        settings.VfSettings(spoofchk=False),
        settings.VfSettings(link_state=settings.LinkState.DISABLE),
    ],
)
def test_what_an_owner_had_and_cannot_be_taken_back_is_at_home_and_not_handed_on(
    here: bench.Bench, wanted: settings.VfSettings
) -> None:
    here.attach(here.request(wanted))
    table = here.machine.pf(2)
    assert table
    [setting] = settings.asked(wanted)
    table.profile = refusing(setting, errno.EIO)
    with pytest.raises(errors.KernelError, match=setting.value):
        here.detach(pod=here.pod)
    assert here.at_home("enp1s0v0").parent == here.vfs[0]
    assert [record.pci for record in here.book.records()] == [here.vfs[0]]
    table.profile = world.PERMISSIVE
    here.detach(pod=here.pod)
    assert (here.vf_state(), list(here.book.records())) == (settings.BASELINE, [])


@pytest.fixture
def here(tmp_path: pathlib.Path) -> bench.Bench:
    return bench.make(tmp_path, world.PERMISSIVE)


@pytest.mark.parametrize("declared", [settings.Switches(trust=True), settings.Switches(spoofchk=False)])
@pytest.mark.parametrize("code", SAID)
def test_what_is_declared_and_refused_is_passed_over(
    tmp_path: pathlib.Path, declared: settings.Switches, code: int
) -> None:
    stated = declared.over(settings.BASELINE)
    [setting] = settings.asked(stated)
    here = bench.make(tmp_path, refusing(setting, code))
    here.book.defaults.declare(here.node.tree, here.vfs[0], declared)
    here.attach(msgspec.structs.replace(here.request(stated), named=frozenset()))
    here.detach(pod=here.pod)
    assert list(here.book.records()) == []


@EVERY_DRIVER
def test_a_pod_that_named_no_mac_is_held_to_the_vfs_own(tmp_path: pathlib.Path, profile: world.Profile) -> None:
    here = bench.make(tmp_path, profile)
    own = here.at_home("enp1s0v0")
    for _ in range(2):
        here.attach(here.request(settings.BASELINE))
        assert here.vf_state().mac == own.address
        _refuses_another_mac(here, profile)
        here.detach(pod=here.pod)
        assert here.at_home("enp1s0v0") == own
        assert here.vf_state().mac == settings.NO_MAC


@EVERY_DRIVER
def test_a_pod_is_held_to_the_mac_that_its_network_named(tmp_path: pathlib.Path, profile: world.Profile) -> None:
    here = bench.make(tmp_path, profile)
    assert here.attach(here.request(settings.VfSettings(mac=bench.MAC))).address == bench.MAC
    assert here.vf_state().mac == bench.MAC
    _refuses_another_mac(here, profile)


def _refuses_another_mac(here: bench.Bench, profile: world.Profile) -> None:
    """Or lets nothing out that comes from there."""
    change = kernel.Change(address="02:00:00:00:ee:01")
    with here.node.kernel() as net, net.inside(here.pod) as inner:
        try:
            here.node.insist(lambda: inner.set_link("net1", change))
        except errors.KernelError as error:
            assert error.errno == profile.own_refusal
            return
    slot = here.machine.netdevs(here.vfs[0])[0].slot
    assert slot is not None
    assert not profile.keeps_administered
    if profile.checks_administered:
        assert not here.machine.lets_out(*slot)


@pytest.mark.parametrize("wanted", [settings.VfSettings(spoofchk=False), settings.VfSettings(trust=True)])
def test_a_pod_that_may_change_its_mac_is_not_held(here: bench.Bench, wanted: settings.VfSettings) -> None:
    here.attach(here.request(wanted))
    assert here.vf_state() == wanted
    _with_another_mac(here)
    here.detach(pod=here.pod)
    assert here.at_home("enp1s0v0").address == "02:00:00:02:00:00"


def _with_another_mac(here: bench.Bench) -> None:
    with here.node.kernel() as net, net.inside(here.pod) as inner:
        inner.set_link("net1", kernel.Change(address="02:00:00:00:ee:01"))


def test_once_its_pf_has_heard_a_vf_an_add_says_all_at_once(tmp_path: pathlib.Path) -> None:
    """And not where the PF was down since, or the VF is another: then the links are listed too."""
    here = bench.make(tmp_path)
    asked = [_requests(here)]
    asked += [_requests(here), _requests(here)]
    here.machine.reset_pf(PF)
    asked += [_requests(here), _requests(here)]
    assert asked[1:] == [5, 5, 15, 5]


def _requests(here: bench.Bench) -> int:
    """Of an ADD that names nothing; its DEL follows."""
    here.machine.fail_at(0)
    here.attach(here.request(settings.BASELINE))
    made = len(here.machine.requests)
    pf = here.machine.pf(2)
    assert pf is not None
    assert (pf.heard[0], 0 in pf.deaf_to) == ("02:00:00:02:00:00", False)
    here.detach(pod=here.pod)
    assert (pf.heard[0], 0 in pf.deaf_to) == ("02:00:00:02:00:00", False)
    return made


@pytest.mark.parametrize("mac", [bench.MAC, settings.NO_MAC])
@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize("mtu", [None, 1400])
def test_ixgbe_hears_a_vf_in_the_pod_and_at_home_after_its_trust_was_changed(
    tmp_path: pathlib.Path, mac: str, trust: bool, mtu: int | None
) -> None:
    here = bench.make(tmp_path, drivers.IXGBE)
    own = here.at_home("enp1s0v0")
    request = msgspec.structs.replace(here.request(settings.VfSettings(mac=mac, trust=trust)), mtu=mtu)
    for _ in range(2):
        assert here.attach(request).address == (own.address if mac == settings.NO_MAC else mac)
        _is_heard(here, "net1", here.pod.identity)
        here.machine.destroy("pod") if trust else None
        here.detach(pod=None if trust else here.pod)
        assert here.at_home("enp1s0v0") == own
        _is_heard(here, "enp1s0v0", here.machine.home.identity)
        here = dataclasses.replace(here, pod=here.machine.namespace("pod"))


@pytest.mark.parametrize("wanted", [bench.WANTED, settings.BASELINE, settings.VfSettings(trust=True)])
def test_ixgbe_hears_a_vf_after_its_pf_was_down(tmp_path: pathlib.Path, wanted: settings.VfSettings) -> None:
    here = bench.make(tmp_path, drivers.IXGBE)
    own = here.at_home("enp1s0v0")
    for when in ("before the ADD", "before the DEL"):
        if when == "before the ADD":
            here.machine.reset_pf(PF)
        here.attach(here.request(wanted))
        if when == "before the ADD":
            _is_heard(here, "net1", here.pod.identity)
        else:
            here.machine.reset_pf(PF)
        here.detach(pod=here.pod)
        assert here.at_home("enp1s0v0") == own
        _is_heard(here, "enp1s0v0", here.machine.home.identity)


def _is_heard(here: bench.Bench, name: str, where: world.Identity) -> None:
    pf, device = here.machine.pf(2), here.machine.find(where, name)
    assert pf is not None
    assert device is not None
    assert (pf.heard[0], 0 in pf.deaf_to) == (device.link.address, False)


@pytest.mark.parametrize("name", ["ice", "i40e"])
@pytest.mark.parametrize("wanted", [settings.BASELINE, bench.WANTED, settings.VfSettings(spoofchk=False, vlan=5)])
@pytest.mark.parametrize("destroyed", [False, True])
def test_iavf_is_busy_with_each_reset_and_waited_for(
    tmp_path: pathlib.Path, name: str, wanted: settings.VfSettings, destroyed: bool
) -> None:
    here = bench.make(tmp_path, drivers.ALL[name])
    own = here.at_home("enp1s0v0")
    here.attach(here.request(msgspec.structs.replace(wanted, min_tx_rate=0)))
    if destroyed:
        here.machine.destroy("pod")
    pf = here.machine.pf(2)
    assert pf is not None
    pf.resetting[0] = 3
    here.detach(pod=None if destroyed else here.pod)
    assert here.at_home("enp1s0v0") == own
    assert here.vf_state() == settings.BASELINE


def test_a_driver_that_stays_busy_is_not_waited_for_without_end(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path, drivers.ICE)
    here.attach(here.request(settings.BASELINE))
    pf = here.machine.pf(2)
    assert pf is not None
    pf.profile = dataclasses.replace(drivers.ICE, resetting=10**6)
    hasty = msgspec.structs.replace(here.node, patience=0.2)
    record = here.book.read(here.vfs[0])
    assert record is not None
    with pytest.raises(errors.KernelError, match=r"EBUSY|EAGAIN"):
        detach.detach(hasty, here.book, record, here.pod)
    assert here.book.read(here.vfs[0]) is not None
    pf.profile = drivers.ICE
    pf.resetting[0] = 0
    here.detach(pod=here.pod)


def test_a_driver_that_refuses_every_other_address_does_not_hold_up_an_add(tmp_path: pathlib.Path) -> None:
    """bnxt's firmware has the last word on a VF's own address, and nobody asked for the one that is tried."""
    here = bench.make(tmp_path, dataclasses.replace(drivers.BNXT, refuses_own_address=True))
    own = here.at_home("enp1s0v0")
    for wanted in (settings.BASELINE, settings.VfSettings(spoofchk=False)):
        assert here.attach(here.request(wanted)).address == own.address
        here.detach(pod=here.pod)
        assert (here.at_home("enp1s0v0"), list(here.book.records())) == (own, [])


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_a_pf_does_not_support_is_forgotten() -> None:
    """If its VFs are created again, if the switch has another mode, and after some minutes."""
    clock = Clock()
    known = vf_config.Unsupported(clock)
    target = vf_config.Target(2, 0, settings.NO_MAC, (7, 1))
    for later in (
        msgspec.structs.replace(target, generation=(8, 1)),
        msgspec.structs.replace(target, generation=(7, 0)),
    ):
        known.add(target, Setting.SPOOFCHK)
        assert known.of(msgspec.structs.replace(target, vf=3)) == {Setting.SPOOFCHK}
        assert known.of(later) == frozenset()
    known.add(target, Setting.TRUST)
    assert known.of(target) == {Setting.SPOOFCHK, Setting.TRUST}
    clock.now += 3600
    assert known.of(target) == frozenset()


def test_a_card_that_leaves_switchdev_mode_is_asked_again(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path, drivers.MLX5_SWITCHDEV)
    _show_representors(here, 7)
    here.attach(here.request(settings.BASELINE))
    here.detach(pod=here.pod)
    table = here.machine.pf(2)
    assert table
    table.profile = drivers.MLX5
    _show_representors(here, 0)
    here.attach(here.request(settings.BASELINE))
    assert here.vf_state().spoofchk


def _show_representors(here: bench.Bench, count: int) -> None:
    uplink = here.node.tree.netdev(PF)
    assert uplink is not None
    others = [
        msgspec.structs.replace(uplink, name=f"{uplink.name}_{number}", index=100 + number) for number in range(count)
    ]
    here.machine.node.set_netdev(PF, uplink, *others)
    for number, each in enumerate(others):
        folder = here.node.tree.pci(PF) / "net" / each.name
        (folder / "phys_port_name").write_text(f"pf0vf{number}\n")


def test_vfs_that_are_made_anew_are_asked_again(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path, drivers.MLX5_SWITCHDEV)
    here.attach(here.request(settings.BASELINE))
    here.detach(pod=here.pod)
    table = here.machine.pf(2)
    assert table
    here.machine.set_numvfs(PF, 0)
    table.profile = drivers.MLX5
    for number in range(500):  # or the next folders have the inodes of the last ones
        (tmp_path / f"filler{number}").mkdir()
    here.machine.set_numvfs(PF, 7)
    here.attach(here.request(settings.BASELINE))
    assert here.vf_state().spoofchk


def test_a_userspace_vf_keeps_the_mac_that_its_host_administered(here: bench.Bench) -> None:
    """Kata finds its NIC by it. A MAC that the network names is the VF's while the pod has it."""
    host = settings.VfSettings(mac="02:00:00:00:aa:01")
    here.machine.administer(2, 0, host)
    here.machine.unbind(here.vfs[0])
    here.machine.node.set_driver(here.vfs[0], "vfio-pci")
    for wanted, given in ((settings.VfSettings(vlan=5), host.mac), (settings.VfSettings(mac=bench.MAC), bench.MAC)):
        assert attach.attach_userspace(here.node, here.book, here.request(wanted), here.pod) == given
        assert here.vf_state() == msgspec.structs.replace(wanted, mac=given)
        here.detach(pod=here.pod)
        assert here.vf_state() == host


def test_a_state_that_says_nothing_of_the_mac_leaves_it(here: bench.Bench) -> None:
    """Of a VF that cannot be seen among too many others."""
    here.machine.administer(2, 0, settings.VfSettings(mac=bench.MAC))
    target = here.node.target(here.node.lookup(here.vfs[0]), settings.NO_MAC)
    assert target is not None
    wish = wishes.of_userspace(settings.VfSettings(vlan=5), frozenset(), None)
    with here.node.kernel() as net:
        vf_config.state(net, target, wish, here.node.unsupported)
    assert here.vf_state() == settings.VfSettings(mac=bench.MAC, vlan=5)
    former = settings.VfSettings(mac="02:00:00:00:ee:01")
    assert wishes.of_userspace(settings.BASELINE, frozenset(), None, former).which == settings.EVERY_SETTING


def test_a_record_of_an_older_version_has_none_of_it(here: bench.Bench, tmp_path: pathlib.Path) -> None:
    here.attach(here.request(settings.BASELINE))
    path = tmp_path / f"run/vfs/{here.vfs[0]}.json"
    text = path.read_text()
    for each in (',"passed_over":[]', ',"pinned":"02:00:00:02:00:00"', ',"host_mac":null'):
        assert each in text
        text = text.replace(each, "")
    path.write_text(text)
    record: ledger.Record | None = here.book.read(here.vfs[0])
    assert record is not None
    assert (record.passed_over, record.pinned, record.host_mac) == (None, "", None)
    here.detach(pod=here.pod)
