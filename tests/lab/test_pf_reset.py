"""F25: the PF goes down and up, or is reset behind its driver's back, in the middle of an ADD."""

import functools
import pathlib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from hack.guest import nics
from sriov import devices, errors, settings
from sriov.attachment import attach, netdevs
from tests.kernel import namespaces
from tests.lab import accidents, cnis, igb, plugging

VF = 0
WANTED = settings.VfSettings(mac="02:00:00:00:25:01", vlan=100)
CARD = plugging.SECOND


def down_and_up(pf: devices.PciAddress) -> None:
    """Without a link, at first, igb takes no rate."""
    for state in ("down", "up"):
        subprocess.run(["ip", "link", "set", str(igb.TREE.netdev_name(pf)), state], check=True)


def reset(pf: devices.PciAddress) -> None:
    """A function level reset. igb hears nothing of it: it has no reset_prepare (igb_err_handler, Linux 6.12)."""
    (igb.TREE.pci(pf) / "reset").write_text("1")


def has_link(pf: devices.PciAddress) -> bool:
    return (igb.TREE.pci(pf) / "net" / str(igb.TREE.netdev_name(pf)) / "carrier").read_text() == "1\n"


@pytest.fixture(scope="module")
def first() -> Iterator[devices.PciAddress]:
    """igb hears no VF that was not reset since its PF was down; other tests set addresses without that."""
    yield igb.PF0
    with igb.opened() as net:
        for index in range(nics.VFS_PER_PF):
            netdev = igb.TREE.netdev(igb.vf(index).pci)
            assert netdev is not None
            netdevs.bounce(net, netdev.index)


@pytest.fixture(scope="module")
def resettable() -> Iterator[devices.PciAddress]:
    """A PF that is unplugged and plugged in afterwards: other tests cannot use what such a reset leaves of it."""
    yield CARD.pf
    CARD.unplug()
    CARD.plug()


def survive(
    folder: pathlib.Path, pf: devices.PciAddress, accident: accidents.Accident, recover: Callable[[], None]
) -> None:
    """An ADD that succeeds has done all of it; after any answer, and with a link again, a DEL takes all of it back."""
    pci = igb.vf(VF, pf).pci
    with igb.host(folder) as (here, book), igb.borrowed(VF, pf) as netdev, namespaces.made("pod") as pod:
        try:
            attach.attach(accident.on(here), book, igb.request(here, VF, WANTED, pf), pod.handle)
        except errors.SriovError as error:
            print(error)
        else:
            link = cnis.links(pod)["net1"]
            assert (link.address, link.up, igb.administered(VF, pf)) == (WANTED.mac, True, WANTED)
        assert accident.happened
        recover()
        assert namespaces.until(lambda: has_link(pf))
        if book.read(pci) is not None:
            igb.give_back(here, book, pci, pod.handle)
        assert set(cnis.links(pod)) == {"lo"}
        assert igb.TREE.netdev(pci) == netdev
        assert igb.administered(VF, pf).vlan == 0
        assert list(book.records()) == []


@pytest.mark.parametrize("number", [0, 2, 4])
def test_f25_the_pf_is_down_for_a_moment_in_an_add(
    first: devices.PciAddress, tmp_path: pathlib.Path, number: int
) -> None:
    """Before the PF is told, before the VF has its address, before it comes up. The fakes have every moment."""
    accident = accidents.Accident(number, functools.partial(down_and_up, first))
    survive(tmp_path, first, accident, lambda: None)


@pytest.mark.parametrize("number", [1, 3])
def test_f25_the_pf_is_reset_in_an_add(resettable: devices.PciAddress, tmp_path: pathlib.Path, number: int) -> None:
    """Before the move, after the address. The administrator then takes the PF down and up."""
    accident = accidents.Accident(number, functools.partial(reset, resettable))
    survive(tmp_path, resettable, accident, functools.partial(down_and_up, resettable))
