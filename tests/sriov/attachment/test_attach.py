"""Attaching and detaching on the kernel in memory, with every request failing in turn."""

import dataclasses
import errno
import ipaddress
import pathlib

import msgspec
import pytest

from sriov import devices, errors, settings
from sriov.attachment import attach, netdevs, plans, vf_config
from sriov.hardware import sysfs
from sriov.linux import kernel
from tests.fakes import bench, world

TARGET = vf_config.Target(2, 0, "02:00:00:02:00:00")
PF = devices.pci_address("0000:01:00.0")
REQUESTS = {world.IGB: 12, world.PERMISSIVE: 6, world.STUBBORN: 13}
"""Of a first ADD, which tries what a driver lacks."""
OFF = {"promisc": False, "allmulti": False, "noarp": False}
NETDEV = sysfs.Netdev("enp1s0v0", 3, "02:00:00:02:00:00", 1500)


@pytest.fixture
def here(tmp_path: pathlib.Path) -> bench.Bench:
    return bench.make(tmp_path)


def test_the_plan_of_a_vf_that_has_its_own_mac_is_to_hold_it_to_that(here: bench.Bench) -> None:
    wanted, own = settings.VfSettings(vlan=5), NETDEV.address
    assert plans.plan(TARGET, NETDEV, here.request(wanted), heard=True) == (
        plans.StateVf(TARGET, msgspec.structs.replace(wanted, mac=own), frozenset({settings.Setting.VLAN})),
        plans.Move(here.vfs[0], 3, "enp1s0v0", "net1", kernel.Change(None, 1500, **OFF)),
        plans.Configure("net1", kernel.Change(up=True)),
    )


def test_the_plan_of_a_vf_that_its_pf_may_not_hear_lets_it_say_its_own(here: bench.Bench) -> None:
    own = NETDEV.address
    assert plans.plan(TARGET, NETDEV, here.request(settings.BASELINE)) == (
        plans.StateVf(TARGET, settings.BASELINE),
        plans.Move(here.vfs[0], 3, "enp1s0v0", "net1", kernel.Change(address="06:00:00:02:00:00"), trial=True),
        plans.Configure("net1", kernel.Change(own, 1500, **OFF)),
        plans.Administer(TARGET, own, asked=False),
        plans.Configure("net1", kernel.Change(up=True)),
    )


@pytest.mark.parametrize("wanted", [settings.VfSettings(spoofchk=False), settings.VfSettings(trust=True)])
def test_the_plan_of_a_vf_that_may_change_its_mac_lets_it_say_its_own(
    here: bench.Bench, wanted: settings.VfSettings
) -> None:
    for heard in (False, True):
        assert plans.plan(TARGET, NETDEV, here.request(wanted), heard=heard) == (
            plans.StateVf(TARGET, wanted, settings.asked(wanted)),
            plans.Move(here.vfs[0], 3, "enp1s0v0", "net1", kernel.Change(address="06:00:00:02:00:00"), trial=True),
            plans.Configure("net1", kernel.Change(NETDEV.address, 1500, up=True, **OFF)),
        )


def test_the_plan_with_a_mac_administers_it_after_the_vf_has_it_and_before_it_is_up(
    here: bench.Bench,
) -> None:
    request = msgspec.structs.replace(here.request(), mtu=1400, allmulti=True)
    changed = kernel.Change(bench.MAC, 1400, promisc=False, allmulti=True, noarp=False)
    steps = plans.plan(TARGET, NETDEV, request)
    unpinned = msgspec.structs.replace(bench.WANTED, mac=settings.NO_MAC)
    assert steps == (
        plans.StateVf(TARGET, unpinned, settings.asked(unpinned)),
        plans.Move(here.vfs[0], 3, "enp1s0v0", "net1", changed),
        plans.Administer(TARGET, bench.MAC, asked=True),
        plans.Configure("net1", kernel.Change(up=True)),
    )


def test_c25_the_vf_is_in_the_pod_as_asked(here: bench.Bench) -> None:
    link = here.attach(here.request())
    assert link == here.in_pod()
    assert (link.name, link.address, link.up, link.parent) == ("net1", bench.MAC, True, here.vfs[0])
    assert here.vf_state() == bench.WANTED
    record = here.book.read(here.vfs[0])
    assert record is not None
    assert record.home is not None
    assert (record.home.name, record.wanted, record.netns) == ("enp1s0v0", bench.WANTED, here.pod.identity)


def test_detach_leaves_the_node_as_it_was(here: bench.Bench) -> None:
    before = here.machine.snapshot()
    here.attach(here.request())
    here.detach(pod=here.pod)
    assert here.machine.snapshot() == before
    assert list(here.book.records()) == []


@pytest.mark.parametrize(
    "profile", [world.IGB, world.PERMISSIVE, world.STUBBORN], ids=["igb", "permissive", "stubborn"]
)
@pytest.mark.parametrize("code", [errno.EIO, errno.EBUSY])
def test_f1_every_request_failing_in_turn_leaves_the_vf_as_before(
    tmp_path: pathlib.Path, profile: world.Profile, code: int
) -> None:
    """The first ADD, which learns what the driver lacks, has the most requests. Some are made good, and the pod has its
    VF: it is as asked for, and comes back all the same."""
    for k in range(1, _requests_of_a_first_add(tmp_path / "0", profile) + 1):
        here = bench.make(tmp_path / str(k), profile)
        request = here.request()
        before = here.machine.snapshot()
        here.machine.fail_at(k, code)
        try:
            here.attach(request)
        except errors.KernelError:
            here.machine.fail_at(0)
        else:
            here.machine.fail_at(0)
            assert (here.in_pod().address, here.vf_state()) == (bench.MAC, bench.WANTED)
            here.detach(pod=here.pod)
        _assert_as_before(here, before, profile)


def _requests_of_a_first_add(folder: pathlib.Path, profile: world.Profile) -> int:
    here = bench.make(folder, profile)
    request = here.request()
    here.machine.fail_at(0)
    here.attach(request)
    assert len(here.machine.requests) == REQUESTS[profile]
    return len(here.machine.requests)


def _assert_as_before(here: bench.Bench, before: object, profile: world.Profile) -> None:
    if profile.clears_mac:
        assert here.machine.snapshot() == before
    else:
        own = msgspec.structs.replace(settings.BASELINE, mac=here.at_home("enp1s0v0").address)
        assert here.vf_state() in (settings.BASELINE, own)
    assert list(here.book.records()) == []


def test_a_failing_undo_leaves_the_record_and_the_next_detach_finishes(here: bench.Bench) -> None:
    before = here.machine.snapshot()
    refused = here.request(msgspec.structs.replace(bench.WANTED, min_tx_rate=10))
    here.machine.fail_at(0)
    with pytest.raises(errors.UnsupportedError):
        here.attach(refused)
    asked = len(here.machine.requests)
    for k in range(1, asked + 1):
        here.machine.fail_at(0)
        here.attach(here.request())
        here.machine.fail_at(k)
        try:
            here.detach(pod=here.pod)
        except errors.KernelError as error:
            left = here.book.read(here.vfs[0])
            assert left is not None
            assert left.problem == str(error)
            here.machine.fail_at(0)
            here.detach(pod=here.pod)
        here.machine.fail_at(0)
        assert here.machine.snapshot() == before


@pytest.mark.parametrize("mac", [bench.MAC, settings.NO_MAC])
def test_the_vf_is_heard_in_the_pod_and_at_home(here: bench.Bench, mac: str) -> None:
    """igb forgets the VF's own MAC with the administered one."""
    pf = here.machine.pf(2)
    assert pf is not None
    own = pf.heard[0]
    link = here.attach(here.request(settings.VfSettings(mac=mac)))
    assert pf.heard[0] == link.address
    here.detach(pod=here.pod)
    assert pf.heard[0] == own == here.at_home("enp1s0v0").address


def test_f5_a_destroyed_namespace_sends_the_vf_home_and_detach_cleans_it(here: bench.Bench) -> None:
    before = here.machine.snapshot()
    here.attach(here.request())
    here.machine.destroy("pod")
    assert here.at_home("net1").address == bench.MAC
    here.detach()
    assert here.machine.snapshot() == before


def test_f5_with_its_pod_name_taken_in_the_host(here: bench.Bench) -> None:
    here.attach(here.request())
    here.machine.add_link("net1", here.machine.home)
    here.machine.destroy("pod")
    here.detach()
    assert here.at_home("enp1s0v0").address == "02:00:00:02:00:00"


def test_a_vf_whose_host_name_was_taken_gets_one_of_its_own(here: bench.Bench) -> None:
    here.attach(here.request())
    here.machine.add_link("enp1s0v0", here.machine.home)
    here.detach(pod=here.pod)
    assert here.at_home("vf000001100").parent == here.vfs[0]
    assert here.vf_state() == settings.BASELINE


@pytest.mark.parametrize("action", ["rename", "add_altname"])
@pytest.mark.parametrize("fetched", [True, False], ids=["by DEL", "by the end of its namespace"])
def test_a_vf_that_its_pod_called_as_another_gives_the_name_up(here: bench.Bench, fetched: bool, action: str) -> None:
    """Its pod is gone, and it is in the host under that name when the other comes home."""
    before, villain = here.machine.snapshot(), here.machine.namespace("villain")
    here.attach(here.request())
    index = attach.attach(here.node, here.book, here.request(vf=1, container_id="c2"), villain).index
    device = here.machine.find(villain.identity, index)
    assert device
    if action == "rename":
        device.link = msgspec.structs.replace(device.link, name="enp1s0v0")
    else:
        device.link = msgspec.structs.replace(device.link, altnames=("enp1s0v0",))
    here.machine.destroy("villain")
    assert here.at_home("enp1s0v0").index == index
    if not fetched:
        here.machine.destroy("pod")
    here.detach(pod=here.pod if fetched else None)
    assert here.at_home("enp1s0v0").parent == here.vfs[0]
    here.detach(vf=1)
    assert here.machine.snapshot() == before


def test_a_name_that_another_vf_has_by_right_stays_its_own(here: bench.Bench) -> None:
    """The node's owner has called it so while it was nobody's: it is home again, and not yet taken back."""
    here.attach(here.request())
    with here.node.kernel() as net:
        net.rename(net.link("enp1s0v1").index, "enp1s0v0")
    villain = here.machine.namespace("villain")
    attach.attach(here.node, here.book, here.request(vf=1, container_id="c2", ifname="enp1s0v0"), villain)
    here.machine.destroy("villain")
    here.detach(pod=here.pod)
    assert here.at_home("enp1s0v0").parent == here.vfs[1]
    assert here.at_home("vf000001100").parent == here.vfs[0]


def test_a_neighbours_unreadable_record_keeps_no_vf_from_coming_home(here: bench.Bench, tmp_path: pathlib.Path) -> None:
    """Nobody can say what the neighbour is called by right: it keeps the name."""
    here.attach(here.request())
    with here.node.kernel() as net:
        net.rename(net.link("enp1s0v1").index, "enp1s0v0")
    (tmp_path / f"run/vfs/{here.vfs[1]}.json").mkdir()
    here.detach(pod=here.pod)
    assert here.at_home("vf000001100").parent == here.vfs[0]
    assert here.vf_state() == settings.BASELINE


def test_f4_the_vf_is_found_in_the_pod_by_its_pci_address_not_its_name(here: bench.Bench) -> None:
    before = here.machine.snapshot()
    here.attach(here.request())
    with here.node.kernel() as net, net.inside(here.pod) as inner:
        inner.rename(inner.link("net1").index, "renamed")
    here.detach(pod=here.pod)
    assert here.machine.snapshot() == before


def test_f62_another_pods_namespace_at_the_same_path_is_left_alone(here: bench.Bench) -> None:
    here.attach(here.request())
    other = here.machine.namespace("other")
    stranger = here.machine.add_link("net1", other)
    with pytest.raises(errors.BusyError, match="neither in the host nor in the pod"):
        here.detach(pod=other)
    with here.node.kernel() as net, net.inside(other) as inner:
        assert inner.link("net1").index == stranger
    other.close()


def test_f28_a_vf_that_is_gone_is_forgotten(here: bench.Bench) -> None:
    here.attach(here.request())
    here.machine.node.set_numvfs(devices.pci_address("0000:01:00.0"), 0)
    here.detach(pod=here.pod)
    assert list(here.book.records()) == []


def test_f28_another_vf_that_has_its_address_by_now_is_left_alone(here: bench.Bench) -> None:
    """Name and address of the one that is gone are nothing to the new one."""
    here.attach(here.request())
    [record] = here.book.records()
    here.book.write(msgspec.structs.replace(record, device=record.device + 1))
    before = here.machine.snapshot()
    here.detach(pod=here.pod)
    assert here.machine.snapshot() == before
    assert list(here.book.records()) == []


def test_f14_what_the_last_owner_left_does_not_reach_the_next(here: bench.Bench) -> None:
    with here.node.kernel() as net:
        leak = settings.VfSettings(mac="02:00:00:00:dd:01", vlan=666, trust=True, spoofchk=False, max_tx_rate=1)
        net.set_vf(net.link("enp1s0").index, 0, leak, settings.EVERY_SETTING - {settings.Setting.LINK_STATE})
    own = here.attach(here.request(settings.BASELINE)).address
    assert here.vf_state() == settings.VfSettings(mac=own)


def test_f4_another_link_has_the_vfs_name_in_the_pod(here: bench.Bench) -> None:
    """It was made by the pod, which may give its links any names, and it stays there."""
    here.attach(here.request())
    with here.node.kernel() as net, net.inside(here.pod) as inner:
        inner.rename(inner.link("net1").index, "renamed")
        other = here.machine.add_link("net1", here.pod)
        here.detach(pod=here.pod)
        assert [link.index for link in inner.links() if link.name == "net1"] == [other]
    assert here.at_home("enp1s0v0").parent == here.vfs[0]


def test_c26_a_taken_name_changes_nothing(here: bench.Bench) -> None:
    here.machine.add_link("net1", here.pod)
    before = here.machine.snapshot()
    with pytest.raises(errors.NameTakenError, match="interface net1 exists"):
        here.attach(here.request())
    assert here.machine.snapshot() == before
    assert list(here.book.records()) == []


def test_a_taken_host_name_in_the_pod_is_undone(here: bench.Bench) -> None:
    """The kernel refuses such a move only where the pod's name is taken too; here it renames on the way."""
    here.machine.add_link("enp1s0v0", here.pod)
    assert here.attach(here.request()).name == "net1"


def test_f35_an_unsupported_setting_that_was_asked_for_names_key_and_value(here: bench.Bench) -> None:
    before = here.machine.snapshot()
    with pytest.raises(errors.UnsupportedError, match="link_state disable"):
        here.attach(here.request(settings.VfSettings(link_state=settings.LinkState.DISABLE)))
    assert here.machine.snapshot() == before


def test_f35_the_baseline_is_not_asked_of_a_driver_that_has_no_such_thing(here: bench.Bench) -> None:
    here.attach(here.request())
    here.machine.fail_at(0)
    here.attach(here.request(vf=1, ifname="net2"))
    stated = [request for request in here.machine.requests if request.startswith("set [")]
    assert stated == [
        "set ['mac', 'spoofchk', 'trust', 'tx_rate', 'vlan'] on VF 1 of link 2",
        "set ['mac'] on VF 1 of link 2",
    ]


def test_f31_a_driver_that_cannot_clear_a_mac_gets_the_vfs_own(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path, world.STUBBORN)
    here.attach(here.request())
    here.detach(pod=here.pod)
    assert here.vf_state().mac == here.at_home("enp1s0v0").address == "02:00:00:02:00:00"


def test_f30_a_driver_that_takes_the_mac_only_at_down_is_bounced(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path, dataclasses.replace(world.IGB, ignores_own_address=True))
    assert here.attach(here.request()).address == bench.MAC


def test_f30_a_mac_that_never_takes_effect_is_an_error(tmp_path: pathlib.Path) -> None:
    deaf = dataclasses.replace(world.IGB, ignores_own_address=True, takes_mac_at_down=False)
    here = bench.make(tmp_path, deaf)
    with pytest.raises(errors.UnsupportedError, match="did not take effect"):
        here.attach(here.request())
    assert here.vf_state() == settings.BASELINE
    assert here.at_home("enp1s0v0").address == "02:00:00:02:00:00"
    assert list(here.book.records()) == []


def test_f38_a_driver_that_is_still_at_it_is_waited_for(tmp_path: pathlib.Path) -> None:
    """It has said yes, and the address comes while nobody asks for anything any more."""
    slow = dataclasses.replace(world.IGB, ignores_own_address=True, takes_mac_at_down=False)
    here = bench.make(tmp_path, slow)

    def done() -> None:
        [device] = here.machine.netdevs(here.vfs[0])
        assert device.link.address != bench.MAC
        device.link = msgspec.structs.replace(device.link, address=bench.MAC)

    here.machine.before(20, done)
    patient = msgspec.structs.replace(here.node, patience=20.0)
    link = attach.attach(patient, here.book, here.request(), here.pod)
    assert (link.address, here.vf_state()) == (bench.MAC, bench.WANTED)


def test_a_vf_without_netdev_in_the_host_is_busy(here: bench.Bench) -> None:
    here.attach(here.request())
    with pytest.raises(errors.BusyError, match="no netdev in the host"):
        here.attach(here.request(container_id="c2", ifname="net9"))


def test_f25_a_pf_without_a_link_takes_no_rate_and_its_vfs_come_and_go_all_the_same(here: bench.Bench) -> None:
    before = here.machine.snapshot()
    here.machine.lose_link(PF)
    here.attach(here.request(msgspec.structs.replace(bench.WANTED, max_tx_rate=0)))
    here.detach(pod=here.pod)
    assert here.machine.snapshot() == before


def test_f25_a_rate_that_cannot_be_taken_back_is_not_forgotten(here: bench.Bench) -> None:
    here.attach(here.request(settings.VfSettings(max_tx_rate=200)))
    here.machine.lose_link(PF)
    with pytest.raises(errors.KernelError, match="tx_rate"):
        here.detach(pod=here.pod)
    assert [record.pci for record in here.book.records()] == [here.vfs[0]]


@pytest.mark.parametrize("wanted", [bench.WANTED, settings.BASELINE])
def test_f25_a_vf_whose_pf_was_down_is_reset_once(here: bench.Bench, wanted: settings.VfSettings) -> None:
    """igb takes nothing from such a VF; afterwards it hears its address, also at home."""
    own, before = here.at_home("enp1s0v0"), here.machine.snapshot()
    here.machine.reset_pf(PF)
    link = here.attach(here.request(wanted))
    assert link.up
    assert link.address == (own.address if wanted.mac == settings.NO_MAC else wanted.mac)
    pf = here.machine.pf(2)
    assert pf is not None
    assert (pf.heard[0], pf.deaf_to) == (link.address, {1, 2, 3, 4, 5, 6})
    here.detach(pod=here.pod)
    assert (here.at_home("enp1s0v0"), pf.heard[0]) == (own, own.address)
    assert before != here.machine.snapshot(), "the others still wait for their reset"


def test_f25_a_vf_that_came_home_before_its_pf_was_down(here: bench.Bench) -> None:
    own = here.at_home("enp1s0v0")
    here.attach(here.request())
    here.machine.destroy("pod")
    here.machine.reset_pf(PF)
    here.detach()
    assert here.at_home("enp1s0v0") == own


def test_f25_the_pf_is_reset_before_each_request_of_an_add(tmp_path: pathlib.Path) -> None:
    """Wherever it comes, the pod has its VF, or the VF is home; and the next ADD succeeds."""
    for k in range(1, _requests_of_a_first_add(tmp_path / "0", world.IGB) + 1):
        here = bench.make(tmp_path / str(k))
        request, own = here.request(), here.at_home("enp1s0v0")
        here.machine.before(k, lambda here=here: here.machine.reset_pf(PF))  # type: ignore[misc]
        assert here.attach(request) == here.in_pod()
        assert (here.in_pod().address, here.vf_state()) == (bench.MAC, bench.WANTED)
        here.detach(pod=here.pod)
        assert here.at_home("enp1s0v0") == own
        assert here.attach(here.request()).address == bench.MAC


def test_an_address_that_is_refused_for_good_is_tried_twice(here: bench.Bench) -> None:
    link = here.at_home("enp1s0v0")
    here.machine.fail_at(0)
    with here.node.kernel() as net, pytest.raises(errors.KernelError) as caught:
        netdevs.configure(net, link.index, kernel.Change(address="01:00:00:00:00:01"))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert len([request for request in here.machine.requests if "address='01:" in request]) == 2
    assert here.at_home("enp1s0v0") == link


def test_f16_an_altname_in_the_pod_is_a_taken_name(here: bench.Bench) -> None:
    index = here.machine.add_link("eth0", here.pod)
    holder = here.machine.find(here.pod.identity, index)
    assert holder
    holder.link = msgspec.structs.replace(holder.link, altnames=("net1",))
    before = here.machine.snapshot()
    with pytest.raises(errors.NameTakenError, match="interface net1 exists"):
        here.attach(here.request())
    assert here.machine.snapshot() == before


def test_f16_an_altname_in_the_host_is_in_the_way_home(here: bench.Bench) -> None:
    """udev gives such names. The VF gets one of its own, and its own again the next time."""
    here.attach(here.request())
    index = here.machine.add_link("eth9", here.machine.home)
    holder = here.machine.find(here.machine.home.identity, index)
    assert holder
    holder.link = msgspec.structs.replace(holder.link, altnames=("enp1s0v0",))
    here.detach(pod=here.pod)
    assert here.at_home("vf000001100").parent == here.vfs[0]
    assert here.at_home("enp1s0v0").name == "eth9"
    assert here.vf_state() == settings.BASELINE
    assert here.attach(here.request()).name == "net1"


def test_f16_the_vfs_own_altname_is_its_name_in_the_pod(here: bench.Bench) -> None:
    """udev gives a netdev altnames, and it takes them along; no other link's is ever taken away."""
    [device] = here.machine.netdevs(here.vfs[0])
    device.link = msgspec.structs.replace(device.link, altnames=("ens1v0", "net1"))
    here.book.identities.forget(here.vfs[0])
    link = here.attach(here.request())
    assert (link.name, link.altnames, link.address) == ("net1", ("ens1v0",), bench.MAC)
    here.detach(pod=here.pod)
    assert set(here.at_home("enp1s0v0").altnames) == {"ens1v0", "net1"}


def test_f16_a_name_that_is_taken_at_the_last_moment_stays_whose_it_is(here: bench.Bench) -> None:
    """Between the look and the move, when the VF is in the pod under its host name."""
    request, own = here.request(), here.at_home("enp1s0v0")
    made: list[int] = []
    here.machine.before(3, lambda: made.append(here.machine.add_link("net1", here.pod)))
    with pytest.raises(errors.KernelError, match="File exists"):
        here.attach(request)
    assert (here.in_pod().index, here.at_home("enp1s0v0")) == (made[0], own)
    assert (here.vf_state(), list(here.book.records())) == (settings.BASELINE, [])


def test_f18_what_a_network_manager_did_to_a_free_vf(here: bench.Bench) -> None:
    """It brings it up and gives it an address, before the pod has it and again when it came home alone."""
    own = here.at_home("enp1s0v0")

    def managed(name: str) -> None:
        with here.node.kernel() as net:
            index = net.link(name).index
            net.set_link(index, kernel.Change(up=True, promisc=True, noarp=True))
            net.add_address(index, ipaddress.ip_interface("192.0.2.5/24"))
            net.add_route(index, kernel.Route(kernel.EVERYWHERE_4, ipaddress.ip_address("192.0.2.1")))

    managed("enp1s0v0")
    link = here.attach(here.request())
    assert (link.up, link.promisc, link.noarp, link.address) == (True, False, False, bench.MAC)
    with here.node.kernel() as net, net.inside(here.pod) as inner:
        assert (inner.addresses(link.index), inner.routes(link.index)) == ((), ())
    here.machine.destroy("pod")
    managed("net1")
    here.detach()
    assert here.at_home("enp1s0v0") == own
    link = here.attach(here.request(settings.BASELINE))
    assert link.address == own.address
    with here.node.kernel() as net, net.inside(here.pod) as inner:
        assert inner.addresses(link.index) == ()


def test_f21_the_pf_is_renamed_while_a_pod_has_its_vf(here: bench.Bench) -> None:
    before = here.machine.snapshot()
    here.attach(here.request())
    with here.node.kernel() as net:
        net.rename(net.link("enp1s0").index, "uplink0")
    here.detach(pod=here.pod)
    with here.node.kernel() as net:
        assert net.vf(net.link("uplink0").index, 0) == settings.BASELINE
        assert here.attach(here.request()).address == bench.MAC
        assert net.vf(net.link("uplink0").index, 0) == bench.WANTED
        here.detach(pod=here.pod)
        net.rename(net.link("uplink0").index, "enp1s0")
    assert here.machine.snapshot() == before
