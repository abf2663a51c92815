"""F18: something in the host treats VFs as its own, as NetworkManager does: addresses, up, another name, another MTU.

It acts on VFs that are free, and on one that is on its way into a pod, right before each of the ADD's requests.
"""

import functools
import itertools
import pathlib
import subprocess

import pytest

from sriov import errors, settings
from sriov.attachment import attach
from tests.kernel import namespaces
from tests.lab import accidents, cnis, igb

VF = 2
MAC = "02:00:00:00:18:01"
WANTED = settings.VfSettings(mac=MAC, vlan=100)
HOSTS = ("10.66.0.1/24", "fd66::1/64")


def take(name: str) -> None:
    """All that a network manager does with a netdev that it has found. One that is not there any more is let go."""
    orders = (
        f"link set {name} up mtu 1400 promisc on allmulticast on arp off",
        *(f"address add {each} dev {name}" for each in HOSTS),
        f"route add 10.67.0.0/16 dev {name}",
        f"neighbour add 10.66.0.2 lladdr 02:00:00:00:18:99 dev {name}",
        f"link set {name} name taken",
    )
    subprocess.run(
        ["ip", "-force", "-batch", "-"], input="\n".join(orders), text=True, check=False, capture_output=True
    )


def shown(pod: namespaces.Namespace, *words: str) -> str:
    return subprocess.run(["ip", "-n", pod.name, *words], check=True, capture_output=True, text=True).stdout


def assert_clean(pod: namespaces.Namespace, own: set[str]) -> None:
    link = cnis.links(pod)["net1"]
    assert (link.address, link.up, link.promisc, link.allmulti, link.noarp) == (MAC, True, False, False, False)
    assert cnis.addresses(pod) == own
    assert "10.6" not in shown(pod, "route") + shown(pod, "neighbour")
    assert "fd66" not in shown(pod, "-6", "route")


def test_f18_what_was_done_to_a_free_vf_stays_out_of_the_pod(tmp_path: pathlib.Path) -> None:
    """Also what is done between DEL and the next ADD. The name and the MTU that the host gave it, it gets back."""
    with cnis.opened(tmp_path) as cni, igb.borrowed(VF) as netdev:
        pci = igb.vf(VF).pci
        for name in (netdev.name, "taken"):
            take(name)
            with namespaces.made("pod") as pod:
                answer = cni.add(pci, pod, vlan=100, mac=MAC, mtu=1500)
                assert_clean(pod, {each["address"] for each in answer.document["ips"]})
                assert cnis.links(pod)["net1"].mtu == 1500
                cni.delete(pci, pod)
            after = igb.TREE.netdev(pci)
            assert after is not None
            assert (after.name, after.mtu, after.address) == ("taken", 1400, netdev.address)
            host = subprocess.run(["ip", "address"], check=True, capture_output=True, text=True).stdout
            assert not [each for each in HOSTS if each in host]
            cni.assert_nothing_is_held()


def test_f18_before_each_request_of_an_add(tmp_path: pathlib.Path) -> None:
    """Links are known by index, so that no name leads to another; the VF comes home as it was when it was chosen."""
    pci = igb.vf(VF).pci
    for number in itertools.count():
        with igb.host(tmp_path) as (here, book), igb.borrowed(VF) as netdev, namespaces.made("pod") as pod:
            accident = accidents.Accident(number, functools.partial(take, netdev.name))
            attach.attach(accident.on(here), book, igb.request(here, VF, WANTED), pod.handle)
            assert set(cnis.links(pod)) == {"lo", "net1"}
            assert_clean(pod, set())
            assert cnis.links(pod)["net1"].mtu == netdev.mtu
            igb.give_back(here, book, pci, pod.handle)
            assert igb.TREE.netdev(pci) == netdev
        if not accident.happened:
            assert number > 4, "the attachment has hardly any requests: is it watched?"
            return


def test_f39_a_name_that_is_taken_in_the_pod_meanwhile_brings_the_vf_home(tmp_path: pathlib.Path) -> None:
    """The kernel moves and then refuses the name (do_setlink() in net/core/rtnetlink.c)."""
    pci = igb.vf(VF).pci
    with igb.host(tmp_path) as (here, book), igb.borrowed(VF) as netdev, namespaces.made("pod") as pod:
        words = ["ip", "-n", pod.name, "link", "add", "net1", "type", "bridge"]
        accident = accidents.Accident(1, lambda: subprocess.run(words, check=True))
        request = igb.request(here, VF, WANTED)
        with pytest.raises(errors.KernelError, match="File exists"):
            attach.attach(accident.on(here), book, request, pod.handle)
        assert accident.happened
        assert igb.TREE.netdev(pci) == netdev
        assert igb.administered(VF).vlan == 0
        assert list(book.records()) == []
