"""InfiniBand VFs: moved without an address, link state and GUIDs set through the PF, and as before afterwards."""

import dataclasses
import pathlib
import socket
import struct

import msgspec
import pytest

from sriov import devices, errors, settings
from sriov.attachment import attach, plans
from sriov.hardware import sysfs
from sriov.linux import kernel, nlsocket
from sriov.linux.messages import links, vfs
from sriov.settings import LinkState, Setting
from tests.fakes import bench, drivers, sysfs_tree, world

GUID = "02:00:00:00:cc:00:00:01"
OWN = "02:00:00:02:00:00:01:00"
PLAIN = msgspec.structs.replace(settings.VfSettings(), spoofchk=True)


@pytest.fixture
def here(tmp_path: pathlib.Path) -> bench.Bench:
    return bench.make(tmp_path, drivers.MLX5_INFINIBAND)


@pytest.mark.parametrize("destroyed", [False, True])
@pytest.mark.parametrize(
    "wanted", [PLAIN, settings.VfSettings(link_state=LinkState.ENABLE), settings.VfSettings(guid=GUID)]
)
def test_a_vf_is_in_the_pod_as_asked_and_comes_home_as_it_was(
    here: bench.Bench, wanted: settings.VfSettings, destroyed: bool
) -> None:
    own = here.at_home("enp1s0v0")
    assert own.address.endswith(OWN)
    for _ in range(2):
        here.machine.requests.clear()
        link = here.attach(here.request(wanted))
        assert (link.name, link.up) == ("net1", True)
        assert settings.guid_of(link.address) == (wanted.guid or OWN)
        assert here.vf_state().link_state is wanted.link_state
        assert not [each for each in here.machine.requests if "address='" in each], "nobody can set one"
        if destroyed:
            here.machine.destroy("pod")
        here.detach(pod=None if destroyed else here.pod)
        home = here.at_home("enp1s0v0")
        assert msgspec.structs.replace(home, index=own.index) == own
        assert here.vf_state().link_state is LinkState.AUTO
        assert here.vf_state().guid == (OWN if wanted.guid else "")
        assert list(here.book.records()) == []
        here = dataclasses.replace(here, pod=here.machine.namespace("pod"))


def test_an_add_of_nothing_is_four_requests(here: bench.Bench) -> None:
    """The name, the PF, the move with all that follows it, and the look at what came of it."""
    here.attach(here.request(PLAIN))
    here.detach(pod=here.pod)
    here.machine.fail_at(0)
    here.attach(here.request(PLAIN))
    assert len(here.machine.requests) == 4


def test_a_guid_that_no_driver_can_read_is_refused_and_undone(here: bench.Bench) -> None:
    """If sysfs cannot be written, the VF's driver cannot be bound again."""
    here = dataclasses.replace(here, node=msgspec.structs.replace(here.node, writer=None))
    own = here.at_home("enp1s0v0")
    with pytest.raises(errors.KernelError, match=r"bind VF .* to its driver again"):
        here.attach(here.request(settings.VfSettings(guid=GUID)))
    assert (here.at_home("enp1s0v0"), list(here.book.records())) == (own, [])
    assert here.vf_state().guid == OWN


def test_a_guid_that_did_not_take_effect_is_refused_and_undone(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path, dataclasses.replace(drivers.MLX5_INFINIBAND, takes_guids=False))
    own = here.at_home("enp1s0v0")
    with pytest.raises(errors.UnsupportedError, match=f"guid {GUID} did not take effect"):
        here.attach(here.request(settings.VfSettings(guid=GUID)))
    assert msgspec.structs.replace(here.at_home("enp1s0v0"), index=own.index) == own
    assert list(here.book.records()) == []


@pytest.mark.parametrize("setting", [Setting.GUID, Setting.LINK_STATE])
def test_what_a_driver_refuses_is_named_and_what_nobody_asked_for_is_not(
    tmp_path: pathlib.Path, setting: Setting
) -> None:
    without = drivers.MLX5_INFINIBAND.unsupported | {setting}
    here = bench.make(tmp_path, dataclasses.replace(drivers.MLX5_INFINIBAND, unsupported=without))
    wanted = settings.VfSettings(guid=GUID, link_state=LinkState.ENABLE)
    with pytest.raises(errors.UnsupportedError, match=setting.value):
        here.attach(here.request(wanted))
    here.attach(here.request(PLAIN))
    here.detach(pod=here.pod)
    assert list(here.book.records()) == []


def test_a_vf_whose_pf_is_on_another_machine(here: bench.Bench) -> None:
    netdev = here.node.tree.netdev(here.vfs[0])
    assert netdev is not None
    vf = msgspec.structs.replace(here.request().vf, pf=None, pf_netdev=None)
    request = msgspec.structs.replace(here.request(PLAIN), vf=vf)
    with pytest.raises(errors.UnsupportedError, match="guid"):
        plans.plan(None, netdev, msgspec.structs.replace(request, wanted=settings.VfSettings(guid=GUID)))
    steps = plans.plan(None, netdev, request)
    assert [type(each).__name__ for each in steps] == ["Move"]


def test_a_vf_that_a_program_has(here: bench.Bench) -> None:
    here.machine.unbind(here.vfs[0])
    here.machine.node.set_driver(here.vfs[0], "vfio-pci")
    before = "02:00:00:00:aa:00:00:09"
    here.machine.administer(2, 0, msgspec.structs.replace(here.vf_state(), guid=before))
    attach.attach_userspace(here.node, here.book, here.request(settings.VfSettings(guid=GUID)), here.pod)
    assert here.vf_state().guid == GUID
    here.detach(pod=here.pod)
    assert here.vf_state().guid == before


def test_twenty_octets_survive_sysfs_and_netlink(tmp_path: pathlib.Path) -> None:
    address = world.infiniband_address(2, 0)
    tree = sysfs_tree.SysfsTree(tmp_path)
    model = dataclasses.replace(sysfs_tree.LARGE, link_type=devices.LinkType.INFINIBAND)
    pf = tree.add_pf("0000:01:00.0", sysfs.Netdev("ib0", 2, address, 2044), model, numvfs=1)
    netdev = tree.tree.netdev(pf)
    assert netdev is not None
    assert netdev.address == address
    octets = bytes.fromhex(address.replace(":", ""))
    attributes = b"".join(
        nlsocket.attribute(kind, value) for kind, value in ((1, octets), (3, b"ib0\0"), (4, struct.pack("=I", 2044)))
    )
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 32, 2, 1, 0) + attributes
    message = nlsocket.HEADER.pack(nlsocket.HEADER.size + len(body), 16, 0, 0, 0) + body
    assert links.shown(message) == kernel.Link(2, "ib0", address, 2044, True, None)


def test_both_guids_are_said_to_the_pf() -> None:
    """struct ifla_vf_guid, include/uapi/linux/if_link.h: the number of the VF, and the GUID as a number."""
    wanted = settings.VfSettings(guid=GUID, link_state=LinkState.ENABLE)
    _, listed = vfs.request(3, wanted, settings.INFINIBAND)
    [(_, info)] = listed["attrs"]
    assert dict(info["attrs"]) == {
        "IFLA_VF_LINK_STATE": {"vf": 3, "link_state": 1},
        "IFLA_VF_IB_NODE_GUID": {"vf": 3, "ib_node_guid": GUID},
        "IFLA_VF_IB_PORT_GUID": {"vf": 3, "ib_port_guid": GUID},
    }


@pytest.mark.parametrize("text", ["", "02:00:00:00:00:01", "00:00:00:00:00:00:00:00", "FF:ff:ff:ff:ff:ff:ff:ff", "x"])
def test_a_guid_that_no_port_can_have(text: str) -> None:
    with pytest.raises(errors.SettingError, match="not an InfiniBand GUID"):
        settings.guid(text)


def test_the_guid_of_an_address() -> None:
    assert settings.guid("02:AB:00:00:00:00:00:01") == "02:ab:00:00:00:00:00:01"
    assert settings.guid_of(world.infiniband_address(2, 0, GUID)) == GUID
    assert settings.guid_of("00:00:01:07:fe:80" + ":00" * 14) == settings.NO_GUID == settings.guid_of("")
