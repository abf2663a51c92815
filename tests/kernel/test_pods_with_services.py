"""`services: "socket"` from ADD to the end of the pod, on real interfaces: the daemon is a process (root)."""

import asyncio
import contextlib
import json
import pathlib
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from sriov.cluster import frames
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.daemon import http_address
from sriov.linux import netns
from sriov.state import daemon_problems
from sriov_cni.dataplane import service_maps, services, table_store
from tests.fakes import mock_node
from tests.kernel import namespaces, test_gc
from tests.sriov.daemon import clients
from tests.sriov_cni import harness
from tests.sriov_cni.dataplane import bpf

pytestmark = pytest.mark.root
PLUGINS = "/usr/lib/cni"
ADDRESS = "10.9.0.2"
NETWORK = harness.configuration(
    "0000:01:10.0",
    cniVersion="1.0.0",
    services="socket",
    ipam={"type": "static", "addresses": [{"address": f"{ADDRESS}/24"}]},
)
CLUSTER_IP = ("10.96.0.1", 443)


@pytest.fixture
def places(tmp_path: pathlib.Path) -> Iterator[tuple[pathlib.Path, tuple[str, ...]]]:
    """Where programs are pinned, and the daemon's options: `ip netns exec` hides what is mounted below /sys."""
    bpf.built()
    with bpf.mounted(tmp_path / "bpf") as pins, bpf.mounted(tmp_path / "cgroup", "cgroup2") as cgroup:
        yield pins, ("--services", str(pins), "--cgroup-root", str(cgroup))
        services.remove(pins)


def test_a_pod_reaches_services_from_its_add_on_and_nothing_is_left_of_it(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]]
) -> None:
    pins, options = places
    with test_gc.node(tmp_path, *options), namespaces.made("pod") as pod, bpf.translator(pins) as seen:
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        added = client.call("ADD", NETWORK)
        assert added.code == 0, added
        reaches_itself(pod, seen)
        assert seen.admitted() == {netns.cookie(pod.handle)}
        check = {**NETWORK, "prevResult": added.document}
        assert client.call("CHECK", check).code == 0
        seen.dismiss(seen.admitted())
        checked = client.call("CHECK", check)
        assert (checked.code, "do not reach Services" in checked.message) == (101, True), checked
        seen.admit(netns.cookie(pod.handle))
        assert client.call("DEL", NETWORK).code == 0
        assert namespaces.until(lambda: seen.admitted() == set())


def test_a_daemon_that_starts_admits_the_pods_of_its_ledger(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]]
) -> None:
    """Somebody has removed what was pinned while it was away."""
    pins, options = places
    node = contextlib.closing(mock_node.MockNode(tmp_path, pfs=1, vfs=1))
    with node as made, namespaces.made("pod") as pod:
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        with test_gc.daemon(made, tmp_path, *options):
            assert client.call("ADD", NETWORK).code == 0
        services.remove(pins)
        with test_gc.daemon(made, tmp_path, *options):
            with bpf.translator(pins) as seen:
                assert seen.admitted() == {netns.cookie(pod.handle)}
            assert client.call("DEL", NETWORK).code == 0


def test_services_that_nobody_reaches_are_seen_everywhere(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]]
) -> None:
    """Somebody changes the table: the programs are attached and run all the same."""
    pins, options = places
    where = http_address.Unix(tmp_path / "http.sock")

    def readiness() -> tuple[int, str]:
        return asyncio.run(clients.get(where, "/readyz"))

    with test_gc.node(tmp_path, *options, "--http", str(where)):
        assert namespaces.until(lambda: readiness() == (200, "ok\n"))
        with bpf.pinned(pins, "services", service_maps.SERVICE) as table:
            table.delete([key for key, _ in table.entries()])
        assert namespaces.until(lambda: readiness()[0] == 503)
        code, said = readiness()
        assert (code, said.count("\n")) == (503, 1)
        assert "programs for Services are attached and run, but a TCP connection to 192.0.2.1 does not arrive" in said
        trouble = daemon_problems.Trouble(tmp_path / "run")
        assert namespaces.until(lambda: [*trouble.read()] == said.splitlines())


def test_a_pods_socket_whose_backend_goes_is_ended_in_its_namespace(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]]
) -> None:
    """The agent says that it goes; the table's snapshot is no word of the agent's."""
    _, options = places
    agent, snapshot = tmp_path / "agent.sock", tmp_path / "services"
    options += ("--cluster-socket", str(agent), "--cluster-snapshot", str(snapshot))
    dns = Frontend("10.96.0.10", 53, Protocol.UDP)
    here, other = Service(dns, (Endpoint(ADDRESS, 53),)), Service(dns, (Endpoint(ADDRESS, 54),))
    table_store.Snapshot(snapshot).write(TableChange((here,), whole=True))
    with test_gc.node(tmp_path, *options), namespaces.made("pod") as pod:
        subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        assert client.call("ADD", NETWORK).code == 0
        with socket_of(pod, socket.SOCK_DGRAM) as asking, socket.socket(socket.AF_UNIX) as sending:
            asking.connect((dns.address, 53))
            sending.connect(str(agent))
            sending.sendall(frames.encoded(TableChange((here,), whole=True)))
            time.sleep(0.5)
            asking.setblocking(False)
            with pytest.raises(BlockingIOError):
                asking.recv(1)
            asking.settimeout(10)
            sending.sendall(frames.encoded(TableChange((other,))))
            with pytest.raises(ConnectionAbortedError):
                asking.recv(1)
        assert client.call("DEL", NETWORK).code == 0


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        ("socket", 7, "does not translate Services"),
        ("sockets", 2, "services 'sockets' is no way to reach Services"),
        (True, 6, "Expected `str | null`, got `bool` - at `$.services`"),
        ("off", 0, ""),
    ],
)
def test_what_this_node_cannot_do_is_refused_before_anything_is_changed(
    tmp_path: pathlib.Path, value: object, code: int, words: str
) -> None:
    with test_gc.node(tmp_path), namespaces.made("pod") as pod:
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        answer = client.call("ADD", {**NETWORK, "services": value})
        assert answer.code == code, answer
        assert code == 0 or words in answer.message
        assert (code == 0) == ("net1" in test_gc.links(pod))
        assert client.call("DEL", NETWORK).code == 0


@pytest.mark.parametrize(
    ("policy", "named", "result"),
    [
        ({"defaults": {"services": "socket"}}, None, (0, True)),
        ({"defaults": {"services": "socket"}}, "", (0, True)),
        ({"defaults": {"services": "socket"}}, "off", (0, False)),
        ({"rules": [{"services": ["off"]}]}, "socket", (7, False)),
        ({"rules": [{"services": ["socket"]}]}, None, (7, False)),
        ({"rules": [{"services": ["socket"]}], "defaults": {"services": "socket"}}, None, (0, True)),
    ],
)
def test_the_node_has_a_default_and_the_last_word(
    tmp_path: pathlib.Path,
    places: tuple[pathlib.Path, tuple[str, ...]],
    policy: object,
    named: str | None,
    result: tuple[int, bool],
) -> None:
    """`result` is the code of the ADD, and whether the pod's sockets reach Services then."""
    pins, options = places
    code, admitted = result
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy))
    with test_gc.node(tmp_path, *options, "--policy", str(path)), namespaces.made("pod") as pod:
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        network = {**NETWORK, "services": named}
        answer = client.call("ADD", network)
        assert answer.code == code, answer
        with bpf.translator(pins) as seen:
            assert seen.admitted() == ({netns.cookie(pod.handle)} if admitted else set())
        assert ("net1" in test_gc.links(pod)) == (code == 0)
        assert client.call("DEL", network).code == 0


def test_a_default_that_the_node_cannot_have_fails_no_pod(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"defaults": {"services": "socket"}}')
    with test_gc.node(tmp_path, "--policy", str(path)), namespaces.made("pod") as pod:
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        network = {key: value for key, value in NETWORK.items() if key != "services"}
        assert client.call("ADD", network).code == 0
        assert client.call("DEL", network).code == 0


def reaches_itself(pod: namespaces.Namespace, table: services.Translator) -> None:
    subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)  # the runtime's part
    with socket_of(pod) as server, socket_of(pod) as asking:
        server.bind((ADDRESS, 0))
        server.listen()
        own = Endpoint(ADDRESS, server.getsockname()[1])
        table.apply(TableChange((Service(Frontend(*CLUSTER_IP, Protocol.TCP), (own,)),)))
        asking.connect(CLUSTER_IP)
        server.accept()[0].close()


def socket_of(pod: namespaces.Namespace, kind: int = socket.SOCK_STREAM) -> socket.socket:
    with netns.entered(pod.handle):
        made = socket.socket(socket.AF_INET, kind)
    made.settimeout(5)
    return made
