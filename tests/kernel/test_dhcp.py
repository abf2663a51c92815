"""DHCP as IPAM (root): the reference plugin `dhcp` with its daemon, and a DHCP server on the VFs' network."""

import contextlib
import json
import pathlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from sriov.state import ledger
from tests.fakes import mock_node
from tests.kernel import dhcp, namespaces, test_gc
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
VF, MAC = "0000:01:10.0", "02:00:00:00:cc:01"


class Place:
    """A node on whose VFs' network there is a DHCP server, and its runtime."""

    def __init__(self, folder: pathlib.Path, node: mock_node.MockNode, server: dhcp.Server, socket: str) -> None:
        self.folder, self.node, self.server = folder, node, server
        self._socket = socket

    def call(self, command: str, netns: str, socket: str | None = None, **keys: object) -> harness.Answer:
        """Debian's plugin knows no version after 1.0.0."""
        client = harness.Client(self.folder / "run/cni.sock", str(dhcp.PLUGINS), netns)
        ipam = {"type": "dhcp", "daemonSocketPath": socket or self._socket}
        return client.call(command, harness.configuration(VF, cniVersion="1.0.0", mac=MAC, ipam=ipam, **keys))

    def records(self) -> list[ledger.Record]:
        return list(ledger.Ledger(self.folder / "run").records())


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(test_gc.node(tmp_path))
        server = stack.enter_context(dhcp.server(tmp_path, node))
        yield Place(tmp_path, node, server, stack.enter_context(dhcp.client(tmp_path)))


def addresses(pod: namespaces.Namespace) -> list[str]:
    show = ["ip", "-n", pod.name, "-4", "-json", "address", "show", "dev", "net1"]
    [link] = json.loads(subprocess.run(show, check=True, capture_output=True).stdout)
    return [f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]]


def test_a_lease_its_renewal_and_its_release(place: Place) -> None:
    home = place.node.netdev(VF)
    with namespaces.made("pod") as pod, place.server.serving():
        started = time.monotonic()
        answer = place.call("ADD", pod.path)
        assert answer.code == 0, answer
        assert time.monotonic() - started < 9, "the server heard the first request: the next comes after ten seconds"
        [address] = addresses(pod)
        assert [address, dhcp.GATEWAY] == [answer.document["ips"][0][key] for key in ("address", "gateway")]
        [given] = place.server.leases()
        assert address == f"{given}/24"
        kinds = [kind for kind, client in place.server.messages if client == MAC]
        assert kinds[:4] == ["DISCOVER", "OFFER", "REQUEST", "ACK"]
        assert namespaces.until(lambda: place.server.count("ACK", MAC) > 1), "it is renewed"
        assert place.call("CHECK", pod.path, prevResult=answer.document).code == 0
        answer = place.call("DEL", pod.path)
        assert (answer.code, answer.stdout) == (0, ""), answer
        assert namespaces.until(lambda: place.server.count("RELEASE", MAC) == 1)
        assert place.server.leases() == []
    assert (place.node.netdev(VF), place.records()) == (home, [])


def test_an_add_without_the_plugins_daemon_leaves_nothing(place: Place) -> None:
    home = place.node.netdev(VF)
    with namespaces.made("pod") as pod:
        answer = place.call("ADD", pod.path, socket="/nonexistent")
        assert (answer.code, "IPAM plugin 'dhcp': error dialing" in answer.message) == (999, True), answer
    assert (place.node.netdev(VF), place.records()) == (home, [])


def test_a_del_without_the_plugins_daemon_gives_the_vf_back_and_says_so(place: Place) -> None:
    home = place.node.netdev(VF)
    with namespaces.made("pod") as pod, place.server.serving():
        assert place.call("ADD", pod.path).code == 0
        answer = place.call("DEL", pod.path, socket="/nonexistent")
        assert (answer.code, "IPAM plugin 'dhcp': error dialing" in answer.message) == (999, True), answer
        assert (place.node.netdev(VF), place.records()) == (home, [])
        assert place.call("DEL", pod.path).code == 0


def test_an_add_that_fails_after_its_lease_releases_it(place: Place) -> None:
    """Its answer cannot be put on the link: a route to nowhere."""
    home = place.node.netdev(VF)
    with namespaces.made("pod") as pod, place.server.serving("staticroutes 198.51.100.0/24 192.0.2.9"):
        answer = place.call("ADD", pod.path)
        assert (answer.code, "192.0.2.9" in answer.message) == (100, True), answer
        assert namespaces.until(lambda: place.server.count("RELEASE", MAC) == 1)
        assert place.server.leases() == []
    assert (place.node.netdev(VF), place.records()) == (home, [])
