"""The host's own use of a netdev, asked of a real kernel in a real namespace (root)."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.kernel import namespaces

pytestmark = pytest.mark.root

PROJECT = pathlib.Path(__file__).parents[2]
SHOW = """
import json, pathlib
from sriov.hardware import host_networking
find = host_networking.finder(pathlib.Path("/proc"))
names = [line.split(":")[0].strip() for line in open("/proc/net/dev").read().splitlines()[2:]]
found = {name: find(name, "/sys/class/net/" + name) for name in names}
print(json.dumps({name: [use.use.name, use.text] for name, use in found.items() if use}))
"""


HOPS = {
    4: (("eth0", "192.0.2.7/24", "192.0.2.1"), ("eth1", "198.51.100.7/24", "198.51.100.1")),
    6: (("eth0", "2001:db8::7/64", "2001:db8::1"), ("eth1", "2001:db8:1::7/64", "2001:db8:1::1")),
}
"""Netdev, address and gateway, by IP version."""


class Host:
    """A namespace with the netdevs eth0 and eth1, both up; no process but the tests' is in it."""

    def __init__(self, place: namespaces.Namespace) -> None:
        self.place = place
        self.ip("link set lo up")
        for name in ("eth0", "eth1"):
            self.ip(f"link add {name} type veth peer name {name}peer")
            self.ip(f"link set {name} addrgenmode none")
            self.ip(f"link set {name} up")
            self.ip(f"link set {name}peer up")

    def ip(self, words: str) -> None:
        subprocess.run(["ip", "-n", self.place.name, *words.split()], check=True)

    def uses(self) -> dict[str, list[str]]:
        """`ip netns exec` mounts the namespace's own sysfs."""
        command = ["ip", "netns", "exec", self.place.name, sys.executable, "-P", "-c", SHOW]
        done = subprocess.run(
            command, cwd=PROJECT, env={"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture
def host() -> Iterator[Host]:
    with namespaces.made("host") as place:
        yield Host(place)


def test_nothing_is_used_that_has_link_local_addresses_only(host: Host) -> None:
    host.ip("address add fe80::7/64 dev eth0")
    host.ip("address add 169.254.7.7/32 dev eth1 scope link")
    assert host.uses() == {}


@pytest.mark.parametrize(
    "words",
    [
        "address add 192.0.2.7/24 dev eth1 noprefixroute",
        "address add 192.0.2.7/32 dev eth1",
        "address add 192.0.2.7 peer 192.0.2.8/32 dev eth1 noprefixroute",
        "address add 2001:db8::7/64 dev eth1 noprefixroute",
        "address add 192.0.2.7/24 dev eth1",
        "route add 198.51.100.0/24 dev eth1 table 100",
        "route add 2001:db8:1::/64 dev eth1 table 100",
    ],
)
def test_an_address_is_one_whatever_routes_there_are(host: Host, words: str) -> None:
    host.ip(words)
    found = host.uses()
    assert set(found) == {"eth1"}
    assert found["eth1"][0] == "ADDRESS"


def test_an_address_of_a_link_that_is_down(host: Host) -> None:
    host.ip("link set eth1 down")
    host.ip("address add 192.0.2.7/24 dev eth1")
    assert host.uses()["eth1"] == ["ADDRESS", "eth1 has the host's address 192.0.2.7"]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("table", ["main", "1001"])
def test_every_next_hop_of_a_default_route_carries_the_hosts_traffic(host: Host, version: int, table: str) -> None:
    """As an uplink of two NICs has them; a table of its own is policy routing's."""
    for name, address, _ in HOPS[version]:
        host.ip(f"address add {address} dev {name}")
    hops = " ".join(f"nexthop via {gateway} dev {name}" for name, _, gateway in HOPS[version])
    host.ip(f"-{version} route add default table {table} {hops}")
    assert {name: use for name, (use, _) in host.uses().items()} == dict.fromkeys(["eth0", "eth1"], "DEFAULT_ROUTE")


def test_next_hops_of_a_nexthop_group(host: Host) -> None:
    for number, (name, address, gateway) in enumerate(HOPS[4], 1):
        host.ip(f"address add {address} dev {name}")
        host.ip(f"nexthop add id {number} via {gateway} dev {name}")
    host.ip("nexthop add id 9 group 1/2")
    host.ip("route add default nhid 9")
    assert {use for use, _ in host.uses().values()} == {"DEFAULT_ROUTE"}


def test_routes_that_reject_are_nobodys(host: Host) -> None:
    host.ip("route add unreachable default metric 4278198272")
    host.ip("-6 route add blackhole default")
    assert host.uses() == {}


def test_what_stands_on_it_makes_it_the_hosts(host: Host) -> None:
    """Whether or not anything has an address. A virtual machine's macvtap is macvlan's too (drivers/net/macvtap.c)."""
    host.ip("link add link eth1 name macvlan7 type macvlan mode bridge")
    assert host.uses()["eth1"] == ["PART", "macvlan7 stands on eth1"]
