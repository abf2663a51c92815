"""The machine's own kernel keeps the contract, with a veth as the link (root)."""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from sriov.linux import netlink, netns
from tests.kernel import namespaces
from tests.sriov import kernel_contract

pytestmark = pytest.mark.root


class TestLinks(kernel_contract.LinkContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[kernel_contract.Bench]:
        """The home is a namespace of its own, so that a failing test leaves nothing on the machine."""
        with namespaces.made("home") as home, namespaces.made("pod") as pod:
            subprocess.run(
                ["ip", "-n", home.name, "link", "add", "veth0", "type", "veth", "peer", "name", "peer0"], check=True
            )
            subprocess.run(["ip", "-n", home.name, "link", "set", "peer0", "up"], check=True)
            with netns.entered(home.handle):
                net = netlink.Netlink()

            def add_altname(name: str) -> None:
                command = ["ip", "-n", home.name, "link", "property", "add", "dev", "veth0", "altname", name]
                subprocess.run(command, check=True)

            yield kernel_contract.Bench(net, home.handle, pod.handle, net.link("veth0"), add_altname)
            net.close()


def test_a_link_says_whether_another_is_above_it() -> None:
    with namespaces.made("pod") as pod, netns.entered(pod.handle), contextlib.closing(netlink.Netlink()) as net:
        subprocess.run(["ip", "link", "add", "net1", "type", "veth", "peer", "name", "far0"], check=True)
        assert not net.link("net1").enslaved
        subprocess.run(["ip", "link", "add", "bond0", "type", "bridge"], check=True)
        subprocess.run(["ip", "link", "set", "net1", "master", "bond0"], check=True)
        assert net.link("net1").enslaved


def test_nothing_of_a_namespace_is_held_afterwards() -> None:
    """An open descriptor or socket would keep the namespace, and a VF in it, alive."""
    with namespaces.made("pod") as pod:
        net = netlink.Netlink()
        before = namespaces.open_descriptors()
        with net.inside(pod.handle) as inner:
            inner.links()
        assert namespaces.open_descriptors() == before
        net.close()


def test_the_thread_is_back_home_after_an_error() -> None:
    with namespaces.made("pod") as pod, netns.own() as before:
        with pytest.raises(RuntimeError), netns.entered(pod.handle):
            raise RuntimeError
        with netns.own() as after:
            assert after.identity == before.identity
