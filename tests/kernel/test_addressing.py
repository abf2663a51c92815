"""An IPAM plugin's answer on real interfaces (root): set as the reference's host-device sets it."""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import time
from typing import Any

import pytest

from sriov import errors
from sriov.attachment import announcing, node
from sriov.hardware import sysfs
from sriov.linux import netlink, netns
from sriov.state import ledger
from sriov_cni import app
from sriov_cni.commands import readiness
from sriov_cni.context import calls
from tests.fakes import mock_node
from tests.kernel import namespaces, test_gc
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
PLUGINS = "/usr/lib/cni"
VF = "0000:01:10.0"
V4, V6 = {"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "2001:db8:1::5/64", "gateway": "2001:db8:1::1"}
ANSWERS: dict[str, dict[str, Any]] = {
    "a default route beside the cluster's": {"addresses": [V4], "routes": [{"dst": "0.0.0.0/0"}]},
    "an IPv6 default route beside the cluster's": {"addresses": [V6], "routes": [{"dst": "::/0"}]},
    "two gateways of one destination": {
        "addresses": [V4],
        "routes": [{"dst": "192.168.0.0/16", "gw": "10.1.0.1"}, {"dst": "192.168.0.0/16", "gw": "10.1.0.2"}],
    },
    "two IPv6 gateways of one destination": {
        "addresses": [V6],
        "routes": [{"dst": "2001:db8:2::/64", "gw": f"2001:db8:1::{last}"} for last in (1, 2)],
    },
    "every kind of address": {
        "addresses": [V4, V6, {"address": "10.2.0.4/31"}, {"address": "10.3.0.4/32"}, {"address": "10.4.0.4/8"}],
    },
}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def shown(pod: namespaces.Namespace, *arguments: str) -> Any:
    command = ["ip", "-n", pod.name, "-json", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout or b"[]")


def addresses(pod: namespaces.Namespace) -> list[object]:
    """What was given, with its broadcast address, and whether the detection still goes on."""
    [link] = shown(pod, "address", "show", "dev", "net1")
    found = [each for each in link["addr_info"] if each["scope"] == "global"]
    keys = ("local", "prefixlen", "broadcast", "tentative", "dadfailed")
    return [tuple(each.get(key) for key in keys) for each in found]


def routes(pod: namespaces.Namespace) -> list[object]:
    """In the kernel's order, which is the one that it takes them in."""
    every = [each for family in ("-4", "-6") for each in shown(pod, family, "route", "show")]
    hops = [(each["dst"], hop) for each in every for hop in each.get("nexthops", [each])]
    return [(dst, hop.get("gateway"), hop["dev"]) for dst, hop in hops if dst != "fe80::/64"]


def pods_of_a_cluster(stack: contextlib.ExitStack) -> tuple[namespaces.Namespace, namespaces.Namespace]:
    """Two pods that have an eth0 with the default routes already."""
    pods = (stack.enter_context(namespaces.made("ours")), stack.enter_context(namespaces.made("theirs")))
    for pod in pods:
        ip("-n", pod.name, "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
        for name in ("eth0", "far0", "lo"):
            ip("-n", pod.name, "link", "set", name, "up")
        for address, gateway in (("10.9.0.2/24", "10.9.0.1"), ("2001:db8:9::2/64", "2001:db8:9::1")):
            ip("-n", pod.name, "address", "add", address, "dev", "eth0", "nodad")
            ip("-n", pod.name, "route", "add", "default", "via", gateway, "dev", "eth0")
    return pods


def attach_as_the_reference(place: mock_node.MockNode, pod: namespaces.Namespace, ipam: dict[str, Any]) -> None:
    """host-device of containernetworking-plugins moves a veth, whose other end has a carrier."""
    ip("-n", place.name, "link", "add", "ref0", "type", "veth", "peer", "name", "refpeer0")
    ip("-n", place.name, "link", "set", "refpeer0", "up")
    network = {"cniVersion": "1.0.0", "name": "n1", "type": "host-device", "device": "ref0", "ipam": ipam}
    names = {"COMMAND": "ADD", "CONTAINERID": "c2", "NETNS": pod.path, "IFNAME": "net1", "PATH": PLUGINS}
    environment = [f"CNI_{key}={value}" for key, value in names.items()]
    command = place.command("env", *environment, f"{PLUGINS}/host-device")
    subprocess.run(command, input=json.dumps(network).encode(), check=True, stdout=subprocess.DEVNULL)


def conf(ipam: dict[str, Any], **keys: object) -> dict[str, object]:
    return harness.configuration(VF, cniVersion="1.0.0", ipam=ipam, **keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_addresses_and_routes_are_as_the_reference_has_them(tmp_path: pathlib.Path, name: str) -> None:
    ipam = {"type": "static", **ANSWERS[name]}
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(test_gc.node(tmp_path))
        ours, theirs = pods_of_a_cluster(stack)
        attach_as_the_reference(place, theirs, ipam)
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, ours.path)
        answer = client.call("ADD", conf(ipam))
        assert answer.code == 0, answer
        assert addresses(ours) == addresses(theirs)
        assert routes(ours) == routes(theirs)
        answer = client.call("CHECK", {**conf({"type": "host-local"}), "prevResult": answer.document})
        assert (answer.code, "host-local" in answer.message) == (999, True), "all that is ours is there"
        assert client.call("DEL", conf(ipam)).code == 0


def test_ipv6_is_switched_on_where_the_pod_has_it_off(tmp_path: pathlib.Path) -> None:
    ipam = {"type": "static", "addresses": [V4, V6]}
    with test_gc.node(tmp_path), namespaces.made("pod") as pod:
        for name in ("default", "lo"):
            switch = f"net.ipv6.conf.{name}.disable_ipv6=1"
            subprocess.run(["ip", "netns", "exec", pod.name, "sysctl", "-qw", switch], check=True)
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        answer = client.call("ADD", conf(ipam))
        assert answer.code == 0, answer
        assert [each[0] for each in addresses(pod)] == ["10.1.0.5", "2001:db8:1::5"]  # type: ignore[index]
        with netns.entered(pod.handle):
            switches = [(announcing.SYSCTLS / f"ipv6/conf/{name}/disable_ipv6").read_text() for name in ("net1", "lo")]
        assert switches == ["0\n", "0\n"]
        assert client.call("DEL", conf(ipam)).code == 0


def test_ipv6_that_cannot_be_switched_on_is_said(tmp_path: pathlib.Path) -> None:
    with namespaces.made("pod") as pod:
        subprocess.run(["mount", "--bind", announcing.SYSCTLS, tmp_path], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", tmp_path], check=True)
            with netns.entered(pod.handle):
                (announcing.SYSCTLS / "ipv6/conf/lo/disable_ipv6").write_text("1")
            with pytest.raises(
                errors.UnsupportedError, match=r"lo/disable_ipv6 cannot be changed: Read-only.*--net-sys"
            ):
                app.enable_ipv6(pod.handle, "lo", tmp_path)
        finally:
            subprocess.run(["umount", tmp_path], check=True)


def test_f41_an_address_that_a_neighbour_has_fails_the_add(tmp_path: pathlib.Path) -> None:
    ipam = {"type": "static", "addresses": [V4, V6]}
    with test_gc.node(tmp_path) as place, namespaces.made("neighbour") as other, namespaces.made("pod") as pod:
        home = place.netdev(VF)
        ip("-n", place.name, "link", "add", "vlan0", "type", "bridge")
        ip("-n", place.name, "link", "add", "port0", "type", "veth", "peer", "name", "net1", "netns", other.name)
        ip("-n", place.name, "link", "set", "port0", "master", "vlan0", "up")
        ip("-n", place.name, "link", "set", "vlan0", "up")
        ip("-n", other.name, "address", "add", V6["address"], "dev", "net1", "nodad")
        ip("-n", other.name, "link", "set", "net1", "up")
        answer = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path).call("ADD", conf(ipam))
        assert (answer.code, "2001:db8:1::5/64 of net1 is in use by a neighbour" in answer.message) == (11, True), (
            answer
        )
        assert (place.netdev(VF), list(ledger.Ledger(tmp_path / "run").records())) == (home, [])


def settled(folder: pathlib.Path, pod: namespaces.Namespace) -> float:
    """How many seconds an ADD waits for net1's addresses. None of them is refused."""
    with netns.own() as home, contextlib.closing(netlink.Netlink()) as net:
        with net.inside(pod.handle) as inner:
            link = inner.link("net1")
            given = [each for each in inner.addresses(link.index) if not each.is_link_local]
        here = node.Node(sysfs.Tree(folder), lambda: contextlib.closing(netlink.Netlink()), home)
        started = time.monotonic()
        asyncio.run(readiness.addresses(calls.Daemon(here, ledger.Ledger(folder)), pod.handle, link, given))
        return time.monotonic() - started


@pytest.mark.parametrize(("detection", "least", "most"), [((), 3, 6), (("nodad",), 0, 1)])
def test_f41_a_detection_that_does_not_begin_is_no_error(
    tmp_path: pathlib.Path, detection: tuple[str, ...], least: float, most: float
) -> None:
    """Without a carrier it does not, and three seconds are enough for one to come."""
    with namespaces.made("pod") as pod:
        ip("-n", pod.name, "link", "add", "net1", "type", "veth", "peer", "name", "far0")
        ip("-n", pod.name, "link", "set", "net1", "up")
        ip("-n", pod.name, "address", "add", V6["address"], "dev", "net1", *detection)
        assert least <= settled(tmp_path, pod) < most
