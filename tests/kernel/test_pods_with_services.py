"""`services: "socket"` from ADD to the end of the pod, on real interfaces: the daemon is a process (root)."""

import asyncio
import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sriov.cluster import frames
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.daemon import http_address
from sriov.linux import netns
from sriov.state import daemon_problems, ledger
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
    where = http_address.Unix(tmp_path / "http.sock")
    options += ("--cluster-socket", str(agent), "--cluster-snapshot", str(snapshot), "--http", str(where))
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
            assert namespaces.until(lambda: metrics(where)["change_duration_seconds_count"] >= 2)
            seen = metrics(where)
            assert (seen["effective"], seen["change_duration_seconds_count"]) == (1, 2)
            assert (seen["sockets_ended_total"], seen["agent_silence_seconds"]) == (1, 0)
            assert seen["last_change_timestamp_seconds"] > time.time() - 60
            rooms = {"frontends": 65536, "backends": 131072, "members": 16384, "pods": 4096}
            used = {"frontends": 1, "backends": 1, "members": 0, "pods": 1}
            assert {name: seen[f'capacity{{table="{name}"}}'] for name in rooms} == rooms
            assert {name: seen[f'entries{{table="{name}"}}'] for name in used} == used
            sending.sendall(bytes(9))
            assert namespaces.until(lambda: metrics(where)["refused_changes_total"] == 1)
            assert namespaces.until(lambda: 0 < metrics(where)["agent_silence_seconds"] < 20)
        assert client.call("DEL", NETWORK).code == 0


def test_a_daemon_that_waits_for_another_leaves_its_programs_alone(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]]
) -> None:
    _, options = places
    here, waiting = (http_address.Unix(tmp_path / f"{name}.sock") for name in ("here", "waiting"))

    def readiness(where: http_address.Address) -> int:
        try:
            return asyncio.run(clients.get(where, "/readyz"))[0]
        except OSError:
            return 0

    made = contextlib.closing(mock_node.MockNode(tmp_path, pfs=1, vfs=1))
    with made as node, contextlib.ExitStack() as first:
        first.enter_context(test_gc.daemon(node, tmp_path, *options, "--http", str(here)))
        assert namespaces.until(lambda: readiness(here) == 200)
        with test_gc.daemon(node, tmp_path, *options, "--http", str(waiting)):
            assert namespaces.until(lambda: readiness(waiting) == 503)
            assert readiness(here) == 200
            first.close()
            assert namespaces.until(lambda: readiness(waiting) == 200)


def test_a_daemon_that_is_told_so_ends_what_the_one_before_has_left_once_that_has_ended(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]]
) -> None:
    """Links, programs, maps and the tables; what is another's stays."""
    pins, options = places
    kept = [tmp_path / name for name in ("services", "policies")]
    ending = ("--remove-services", str(pins), "--cluster-snapshot", str(kept[0]), "--policy-snapshot", str(kept[1]))
    for each in kept:
        each.write_text("a table")
    (pins / "others").mkdir()
    made = contextlib.closing(mock_node.MockNode(tmp_path, pfs=1, vfs=1))
    with made as node, contextlib.ExitStack() as first, namespaces.made("pod") as pod:
        first.enter_context(test_gc.daemon(node, tmp_path, *options))
        with bpf.translator(pins) as seen, test_gc.daemon(node, tmp_path, *ending):
            assert not namespaces.until(lambda: not (pins / services.LAYOUT).exists(), 2), "the other one runs"
            assert seen.problems() == []
            first.close()
            assert namespaces.until(lambda: not (pins / services.LAYOUT).exists())
            assert (pins / "others").is_dir()
            assert namespaces.until(lambda: "do not run" in "".join(seen.problems()))
            client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
            assert namespaces.until(lambda: client.call("ADD", NETWORK).code == 7)
            assert [each.exists() for each in kept] == [False, False]


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


def test_auto_is_what_the_node_has_and_says_so(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    """A daemon that translates; one whose table somebody has changed; one that does not translate."""
    pins, options = places
    where = http_address.Unix(tmp_path / "http.sock")
    network = {**NETWORK, "services": "auto"}
    node = contextlib.closing(mock_node.MockNode(tmp_path, pfs=1, vfs=1))
    with node as made, namespaces.made("pod") as pod:
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        found = []
        with test_gc.daemon(made, tmp_path, *options, "--http", str(where)):
            found.append(chosen(client, network, tmp_path))
            assert metrics(where)['auto_choices_total{mode="socket"}'] == 1
            with bpf.pinned(pins, "services", service_maps.SERVICE) as table:
                table.delete([key for key, _ in table.entries()])
            assert namespaces.until(lambda: asyncio.run(clients.get(where, "/readyz"))[0] == 503)
            found.append(chosen(client, network, tmp_path))
        with test_gc.daemon(made, tmp_path):
            found.append(chosen(client, network, tmp_path))
    assert [(mode, admitted) for mode, _, admitted in found] == [("socket", True), ("off", False), ("off", False)]
    assert "a TCP connection to 192.0.2.1 does not arrive" in found[1][1]
    assert found[2][1] == "no --services, and no host link, or no service ranges for it"
    log = capfd.readouterr().err
    assert all(f'services "auto" is "{mode}": {reason}' in log for mode, reason, _ in found)


def chosen(client: harness.Client, network: dict[str, object], folder: pathlib.Path) -> tuple[str, str, bool]:
    """The mode of a pod that comes and goes, why, and whether it was admitted."""
    assert client.call("ADD", network).code == 0
    [record] = ledger.Ledger(folder / "run").records()
    assert client.call("DEL", network).code == 0
    return record.services_mode, record.services_reason, record.cookie != 0


def metrics(where: http_address.Address) -> dict[str, float]:
    """Those of Services, without the beginning of their names."""
    code, text = asyncio.run(clients.get(where, "/metrics"))
    assert code == 200
    lines = (line.removeprefix("sriov_services_") for line in text.splitlines() if line.startswith("sriov_services_"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_daemon_does_not_start_with_a_cgroup_below_the_root(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]]
) -> None:
    """As in a container without the host's: what is attached to its own cgroup would count for no pod."""
    pins, options = places
    below = pathlib.Path(options[-1]) / "not-the-root"
    below.mkdir()
    folders = [f"--{key}={tmp_path}/{key}" for key in ("run-dir", "sysfs", "policy", "predecessor-dir")]
    command = [sys.executable, "-m", "sriov_cni", *folders, *options[:-1], str(below)]
    try:
        ended = subprocess.run(command, cwd=test_gc.PROJECT, capture_output=True, text=True, timeout=30, check=False)
    finally:
        below.rmdir()
    assert ended.returncode == 1
    assert f"services: {below} is not the root of cgroup v2, so that no pod would reach Services" in ended.stderr
    assert not (pins / services.LAYOUT).exists()
    assert not (tmp_path / "run-dir/cni.sock").exists()


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
