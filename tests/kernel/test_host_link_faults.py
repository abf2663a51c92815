"""A host link when something goes wrong: the daemon dies between two requests, or what is asked for cannot be."""

import contextlib
import dataclasses
import itertools
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from sriov.linux import netns
from sriov.state import ledger
from sriov_cni.dataplane import host_link
from sriov_cni.spec import host_links
from tests.fakes import mock_node
from tests.kernel import linked, mortal_daemon, namespaces, test_gc
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
LINKED: dict[str, Any] = {"hostLink": True, "viaHost": [linked.V4.far_network, linked.V6.far_network]}


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A node without a daemon, which has addresses of both versions."""

    node: mock_node.MockNode
    home: netns.Netns
    at_rest: set[str]

    def call(self, command: str, pod: str, container: str = "c1") -> harness.Answer:
        client = harness.Client(self.node.folder / "run/cni.sock", linked.PLUGINS, pod)
        return client.call(command, linked.network(**LINKED), CONTAINERID=container)

    def assert_nothing_is_left(self) -> None:
        assert linked.left_on(self.node.name) == self.at_rest
        assert list(ledger.Ledger(self.node.folder / "run").records()) == []


@pytest.fixture
def here(tmp_path: pathlib.Path) -> Iterator[Node]:
    with (
        contextlib.closing(mock_node.MockNode(tmp_path, pfs=1, vfs=1)) as node,
        netns.open_path(f"/run/netns/{node.name}") as home,
    ):
        linked.ip(node.name, "link add eth0 type veth peer name up0")
        for of in (linked.V4, linked.V6):
            linked.ip(node.name, f"address add {of.node}/{of.prefix} dev eth0", *linked.nodad(of))
        linked.ip(node.name, "link set eth0 up")
        yield Node(node, home, linked.left_on(node.name))


def deaths(here: Node) -> Iterator[tuple[namespaces.Namespace, bool]]:
    """Yield the pod of an ADD in which the daemon has died, after each request; at last one that was answered."""
    for last in itertools.count():
        with namespaces.made("pod") as pod:
            linked.at_once(pod.handle)
            with mortal_daemon.running(here.node, here.home, last):
                answer = here.call("ADD", pod.path)
            assert answer.code in (0, 11), answer
            yield pod, answer.code == 11
        if answer.code == 0:
            assert last > 20, "the call has hardly any requests: is it made?"
            return


@pytest.mark.slow
def test_a_death_after_each_request_of_an_add_then_del_and_another_add(here: Node) -> None:
    for pod, died in deaths(here):
        with mortal_daemon.running(here.node, here.home):
            for again in range(1 + died):
                assert again == 0 or here.call("ADD", pod.path).code == 0, "the runtime tries again"
                assert here.call("DEL", pod.path).code == 0
                here.assert_nothing_is_left()


@pytest.mark.slow
def test_a_death_after_each_request_of_an_add_then_the_namespace_dies(here: Node) -> None:
    """The next daemon's repair takes the VF back; what hung on the link is gone with it."""
    vf = here.node.netdev(linked.VF)
    assert vf is not None
    for pod, _ in deaths(here):
        subprocess.run(["ip", "netns", "del", pod.name], check=True)
        pod.handle.close()
        if here.node.netdev(linked.VF) is None:
            here.node.bring_home(linked.VF, vf.name, vf.address)
        with mortal_daemon.running(here.node, here.home), namespaces.made("next") as other:
            linked.at_once(other.handle)
            assert namespaces.until(lambda: linked.left_on(here.node.name) == here.at_rest)
            assert here.call("ADD", other.path, "c2").code == 0
            assert here.call("DEL", other.path, "c2").code == 0
            here.assert_nothing_is_left()


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[linked.Place]:
    with linked.opened(tmp_path) as made:
        yield made


def _everything(place: linked.Place) -> object:
    """What an ADD that is refused must leave alone."""
    links = [(each["ifname"], each["address"], each["mtu"]) for name in (place.node.name, place.pod.name)
             for each in linked.shown(name, "link")]  # fmt: skip
    return links, linked.left_on(place.node.name), list(ledger.Ledger(place.node.folder / "run").records())


def _name_on_the_node() -> str:
    return host_link.link("c1", "net1", host_links.HostLinkWish("host0"), ()).name


@pytest.mark.parametrize(
    ("keys", "code", "named"),
    [
        ({"hostLink": True}, 7, "the pod has an interface of this name already"),
        ({"hostLink": "net1"}, 7, "hostLink 'net1' is the name of the VF's own interface"),
        ({"viaHost": ["10.0.0.0/8"]}, 7, "viaHost 10.0.0.0/8 needs a host link"),
        ({"hostLinkUdp": True}, 7, "hostLinkUdp true needs a host link"),
        ({"hostLink": "host1", "viaHost": ["10.0.0.1/8"]}, 7, "viaHost '10.0.0.1/8' is not a network"),
        ({"hostLink": "host1", "viaHost": ["10.1.0.0/16"]}, 7, "viaHost 10.1.0.0/16 overlaps 10.1.0.0/24"),
        ({"hostLink": "host1", "viaHost": ["2001:db8:1::/48"]}, 7, "viaHost 2001:db8:1::/48 overlaps"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(
    place: linked.Place, keys: dict[str, Any], code: int, named: str
) -> None:
    linked.ip(place.pod.name, "link add host0 type bridge")
    before = _everything(place)
    answer = place.client.call("ADD", linked.network(**keys))
    assert (answer.code, named in answer.message) == (code, True), answer
    assert _everything(place) == before
    assert place.client.call("ADD", linked.network(hostLink="host1")).code == 0


def test_a_name_that_the_node_has_is_refused(place: linked.Place) -> None:
    linked.ip(place.node.name, f"link add {_name_on_the_node()} type bridge")
    before = _everything(place)
    answer = place.client.call("ADD", linked.network(hostLink=True))
    assert (answer.code, f"the node has an interface {_name_on_the_node()} already" in answer.message) == (7, True)
    assert _everything(place) == before
    linked.ip(place.node.name, f"link del {_name_on_the_node()}")
    place.add(hostLink=True)


def test_a_second_host_link_of_a_pod_is_refused(place: linked.Place) -> None:
    place.add(hostLink=True)
    answer = place.client.call("ADD", linked.network(linked.OTHER_VF, hostLink="host1"), IFNAME="net2")
    assert (answer.code, "the pod has a host link already, host0" in answer.message) == (7, True), answer


def test_a_node_without_libnftables_says_so(here: Node) -> None:
    """An empty file in the library's place, for the daemon alone."""
    [library] = {path.resolve() for path in pathlib.Path("/usr/lib").glob("*/libnftables.so.1")}
    hidden = f'mount --bind /dev/null {library} && exec "$@"'
    with (
        test_gc.daemon(here.node, here.node.folder, before=["unshare", "-m", "sh", "-c", hidden, "-"]),
        namespaces.made("pod") as pod,
    ):
        answer = here.call("ADD", pod.path)
        assert answer.code == 2, answer
        assert "hostLink needs libnftables.so.1, which is not on this node | install" in answer.message
        here.assert_nothing_is_left()
        client = harness.Client(here.node.folder / "run/cni.sock", linked.PLUGINS, pod.path)
        assert client.call("ADD", linked.network()).code == 0, "a network without the key needs none"
