"""F41: an IPv6 address that a neighbour has already (root)."""

import contextlib
import ipaddress
import json
import subprocess
from collections.abc import Iterator

import pytest

from sriov.linux import kernel, netlink, netns
from sriov_cni.context import ipam
from sriov_cni.spec import result
from tests.kernel import namespaces

pytestmark = pytest.mark.root
ADDRESS, OTHER = ipaddress.ip_interface("2001:db8::5/64"), ipaddress.ip_interface("2001:db8::6/64")


@pytest.fixture
def pod() -> Iterator[tuple[kernel.Kernel, namespaces.Namespace]]:
    """A pod whose net1 has a neighbour with ADDRESS."""
    with contextlib.ExitStack() as stack:
        made, other = (stack.enter_context(namespaces.made(name)) for name in ("pod", "other"))
        ip("-n", made.name, "link", "add", "net1", "type", "veth", "peer", "name", "peer0", "netns", other.name)
        ip("-n", other.name, "address", "add", str(ADDRESS), "dev", "peer0", "nodad")
        ip("-n", other.name, "link", "set", "peer0", "up")
        with netns.entered(made.handle):
            net = netlink.Netlink()
        stack.callback(net.close)
        net.set_link("net1", kernel.Change(up=True))
        yield net, made


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def flags(pod: namespaces.Namespace, address: kernel.IpInterface) -> set[str]:
    """What the kernel says of one address."""
    show = ["ip", "-n", pod.name, "-json", "address", "show", "dev", "net1"]
    found = json.loads(subprocess.run(show, check=True, capture_output=True).stdout)[0]["addr_info"]
    return next(set(each) for each in found if each["local"] == str(address.ip))


def test_f41_check_finds_an_address_that_a_neighbour_has(pod: tuple[kernel.Kernel, namespaces.Namespace]) -> None:
    """Where it shows after the ADD; an address that is still looked into is healthy."""
    net, made = pod
    wanted = result.Addressing((ADDRESS, OTHER), ())
    index = net.link("net1").index
    ipam.configure(net, index, wanted)
    assert OTHER in net.addresses(index)
    assert namespaces.until(lambda: "dadfailed" in flags(made, ADDRESS))
    assert ipam.missing(net, index, wanted) == f"address {ADDRESS}"
    assert namespaces.until(lambda: "tentative" not in flags(made, OTHER))
    assert ipam.missing(net, index, result.Addressing((OTHER,), ())) is None
