"""Two pods swap their VFs again and again: nothing of one ever shows on the other.

Each round gives each tenant a random part of all settings, out of values that are that tenant's alone; what it leaves
out has to be as if nobody had ever set it.
"""

import contextlib
import dataclasses
import ipaddress
import os
import pathlib
import random
from collections.abc import Collection, Iterator

import msgspec
import pytest

from sriov import polling, settings
from sriov.attachment import attach, detach, node, plans
from sriov.hardware import sysfs
from sriov.linux import netns
from sriov.state import ledger
from tests.kernel import namespaces
from tests.lab import igb

# A swap takes one to two seconds in an emulated guest. The guest runs what the machine has selected.
SWAPS = (20, 200) if {"SRIOV_LONG", "SRIOV_LAB"} & {*os.environ} else (20,)
VFS = (0, 1)
HOME_MTU = 1500
# Seconds until there is one: igbvf that has missed an answer of its PF asks again after ten (igbvf_has_link() in its
# netdev.c), which an emulated guest of a busy machine has shown.
CARRIER = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Tenant:
    """What a pod asks for in one round. `address` is what its IPAM plugin would give it."""

    wanted: settings.VfSettings
    mtu: int | None
    address: ipaddress.IPv4Interface


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """One VF as its PF and its pod show it."""

    settings: settings.VfSettings
    mac: str
    mtu: int
    addresses: frozenset[object]


@pytest.fixture
def home(tmp_path: pathlib.Path) -> Iterator[tuple[node.Node, ledger.Ledger, list[sysfs.Netdev]]]:
    with igb.host(tmp_path) as (here, book), contextlib.ExitStack() as stack:
        yield here, book, [stack.enter_context(igb.borrowed(index)) for index in VFS]


@pytest.mark.parametrize("swaps", SWAPS)
def test_nothing_of_one_tenant_shows_on_the_other(
    home: tuple[node.Node, ledger.Ledger, list[sysfs.Netdev]], swaps: int
) -> None:
    here, book, netdevs = home
    chance = random.Random(swaps)  # noqa: S311 - reproducible, not secret
    with namespaces.made("a") as a, namespaces.made("b") as b:
        for swap in range(swaps):
            tenants = [_tenant(chance, number, swap) for number in VFS]
            pods = (a, b) if swap % 2 else (b, a)
            for index, (tenant, pod) in enumerate(zip(tenants, pods, strict=True)):
                _attach(here, book, index, tenant, pod.handle)
            shown = [_shown(index, pod.handle) for index, pod in enumerate(pods)]
            expected = [_expected(tenant, netdev) for tenant, netdev in zip(tenants, netdevs, strict=True)]
            for record in book.records():
                detach.detach(here, book, record, pods[_index(record)].handle)
            assert shown == expected, f"swap {swap}"
            assert [igb.TREE.netdev(igb.vf(index).pci) for index in VFS] == netdevs, f"after swap {swap}"


def _tenant(chance: random.Random, number: int, swap: int) -> Tenant:
    """A random part of values that only this tenant has."""
    kinds = {
        "mac": f"02:00:00:00:{number:02x}:{swap % 256:02x}",
        "vlan": 100 + 1000 * number + swap,
        "spoofchk": False,
        "trust": True,
        "max_tx_rate": 100 + 100 * number + swap % 100,
    }
    chosen = {key: value for key, value in kinds.items() if chance.random() < 0.5}
    if "vlan" in chosen:
        chosen["qos"] = chance.randrange(8)
    wanted = msgspec.structs.replace(settings.BASELINE, **chosen)
    mtu = 1300 + 100 * number + swap % 100 if chance.random() < 0.5 else None
    return Tenant(wanted, mtu, ipaddress.IPv4Interface(f"10.{number}.{swap}.1/24"))


def _attach(here: node.Node, book: ledger.Ledger, index: int, tenant: Tenant, pod: netns.Netns) -> None:
    owner = ledger.Owner(container_id=f"c{index}", ifname="net1", network="n1", netns="/run/netns/x")
    vf = here.lookup(igb.vf(index).pci)
    link = attach.attach(here, book, plans.Request(vf, owner, tenant.wanted, tenant.mtu), pod)
    with igb.opened() as net, net.inside(pod) as inner:
        inner.add_address(link.index, tenant.address)


def _shown(index: int, pod: netns.Netns) -> Shown:
    with igb.opened() as net, net.inside(pod) as inner:
        link = inner.link("net1")
        seen = net.vf(igb.pf_index(), index)
        # The kernel gives the link its own address once the driver has told of a carrier (net/ipv6/addrconf.c).
        addresses = polling.until(lambda: inner.addresses(link.index), _has_its_own, CARRIER)
        return Shown(seen, link.address, link.mtu, frozenset(addresses))


def _has_its_own(addresses: Collection[ipaddress.IPv4Interface | ipaddress.IPv6Interface]) -> bool:
    return any(each.is_link_local for each in addresses)


def _expected(tenant: Tenant, netdev: sysfs.Netdev) -> Shown:
    """Without an administered MAC, igb shows the VF's own."""
    mac = netdev.address if tenant.wanted.mac == settings.NO_MAC else tenant.wanted.mac
    addresses = frozenset({tenant.address, _link_local(mac)})
    return Shown(msgspec.structs.replace(tenant.wanted, mac=mac), mac, tenant.mtu or HOME_MTU, addresses)


def _link_local(mac: str) -> ipaddress.IPv6Interface:
    """RFC 4291, appendix A: the MAC with ff:fe in its middle and one bit turned."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ipaddress.IPv6Interface((b"\xfe\x80" + bytes(6) + interface, 64))


def _index(record: ledger.Record) -> int:
    return int(record.owner.container_id.removeprefix("c"))
