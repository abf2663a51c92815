"""Services at the socket, with real packets: the kernel's own programs, and pods whose only network is one end of a
veth pair, as it would be a VF."""

import contextlib
import pathlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from sriov import errors
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.linux import netns
from sriov_cni.dataplane import services
from tests.kernel import namespaces
from tests.sriov_cni.dataplane import bpf

pytestmark = pytest.mark.root

VERSIONS = ("4", "6")
POD = {"4": "10.244.0.2", "6": "fd00:244::2"}
FAR = {"4": "10.244.0.3", "6": "fd00:244::3"}
CLUSTER_IP = {"4": "10.96.0.10", "6": "fd00:96::10"}
FAMILY = {"4": socket.AF_INET, "6": socket.AF_INET6}
LENGTH = {"4": 24, "6": 64}
LIMIT = 5.0  # seconds for a packet that is to come


@pytest.fixture
def pins(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    with bpf.mounted(tmp_path / "bpf") as folder:
        yield folder
        services.remove(folder)


@pytest.fixture
def translator(pins: pathlib.Path) -> Iterator[services.Translator]:
    with bpf.translator(pins) as found:
        yield found


@pytest.fixture
def pods() -> Iterator[tuple[namespaces.Namespace, namespaces.Namespace]]:
    """A pod, and another one beside it on the network."""
    with namespaces.made("pod") as pod, namespaces.made("far") as far:
        ip("-n", pod.name, "link", "add", "net1", "type", "veth", "peer", "name", "net1", "netns", far.name)
        for each, addresses in ((pod, POD), (far, FAR)):
            for version in VERSIONS:
                extra = ["nodad"] if version == "6" else []
                address = f"{addresses[version]}/{LENGTH[version]}"
                ip("-n", each.name, "addr", "add", address, "dev", "net1", *extra)
            ip("-n", each.name, "link", "set", "net1", "up")
            ip("-n", each.name, "link", "set", "lo", "up")
            for version in VERSIONS:
                ip("-n", each.name, f"-{version}", "route", "add", "default", "dev", "net1")
        yield pod, far


@pytest.fixture
def admitted(
    translator: services.Translator, pods: tuple[namespaces.Namespace, namespaces.Namespace]
) -> tuple[namespaces.Namespace, namespaces.Namespace]:
    """The same; the first one's sockets reach Services."""
    translator.admit(netns.cookie(pods[0].handle))
    return pods


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def opened(pod: namespaces.Namespace, version: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket of the pod's."""
    with netns.entered(pod.handle):
        made = socket.socket(FAMILY[version], kind)
    made.settimeout(LIMIT)
    return made


@contextlib.contextmanager
def listening(pod: namespaces.Namespace, version: str, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    with opened(pod, version, kind) as server:
        server.bind(("::" if version == "6" else "0.0.0.0", 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        yield server


def endpoint(version: str, server: socket.socket, where: dict[str, str] = FAR) -> Endpoint:
    return Endpoint(where[version], server.getsockname()[1])


def frontend(version: str, protocol: Protocol = Protocol.TCP, port: int = 80) -> Frontend:
    return Frontend(CLUSTER_IP[version], port, protocol)


def table(*served: Service) -> TableChange:
    return TableChange(served, whole=True)


@pytest.mark.parametrize("version", VERSIONS)
class TestTcp:
    def test_the_backend_sees_the_pods_own_address_and_the_pod_the_services(
        self, version: str, translator: services.Translator, admitted: tuple[namespaces.Namespace, namespaces.Namespace]
    ) -> None:
        pod, far = admitted
        with listening(far, version) as server, opened(pod, version) as client:
            translator.apply(table(Service(frontend(version), (endpoint(version, server),))))
            client.connect((CLUSTER_IP[version], 80))
            with server.accept()[0] as accepted:
                assert accepted.getpeername()[:2] == client.getsockname()[:2]
                assert accepted.getpeername()[0] == POD[version]
                assert client.getpeername()[:2] == (CLUSTER_IP[version], 80)
                client.sendall(b"there")
                accepted.settimeout(LIMIT)
                assert accepted.recv(9) == b"there"

    def test_a_namespace_that_is_nobodys_pod_is_left_alone(
        self, version: str, translator: services.Translator, pods: tuple[namespaces.Namespace, namespaces.Namespace]
    ) -> None:
        pod, far = pods
        with listening(far, version) as server, opened(pod, version) as client:
            translator.apply(table(Service(frontend(version), (endpoint(version, server),))))
            client.settimeout(0.3)
            with pytest.raises(OSError):
                client.connect((CLUSTER_IP[version], 80))

    def test_without_endpoints_it_is_refused_at_once(
        self, version: str, translator: services.Translator, admitted: tuple[namespaces.Namespace, namespaces.Namespace]
    ) -> None:
        pod, _ = admitted
        translator.apply(table(Service(frontend(version))))
        with opened(pod, version) as client, pytest.raises(ConnectionRefusedError):
            client.connect((CLUSTER_IP[version], 80))

    def test_what_is_no_service_goes_where_it_is_sent(
        self, version: str, translator: services.Translator, admitted: tuple[namespaces.Namespace, namespaces.Namespace]
    ) -> None:
        pod, far = admitted
        translator.apply(table(Service(frontend(version))))
        with listening(far, version) as server, opened(pod, version) as client:
            client.connect((FAR[version], server.getsockname()[1]))
            assert client.getpeername()[0] == FAR[version]

    def test_a_pod_that_is_its_own_backend(
        self, version: str, translator: services.Translator, admitted: tuple[namespaces.Namespace, namespaces.Namespace]
    ) -> None:
        pod, _ = admitted
        with listening(pod, version) as server, opened(pod, version) as client:
            translator.apply(table(Service(frontend(version), (endpoint(version, server, POD),))))
            client.connect((CLUSTER_IP[version], 80))
            with server.accept()[0] as accepted:
                assert accepted.getpeername()[0] == POD[version]

    def test_a_backend_that_goes_gets_no_new_connection_and_keeps_its_old_ones(
        self, version: str, translator: services.Translator, admitted: tuple[namespaces.Namespace, namespaces.Namespace]
    ) -> None:
        pod, far = admitted
        with listening(far, version) as first, listening(far, version) as second, opened(pod, version) as old:
            one, other = endpoint(version, first), endpoint(version, second)
            translator.apply(table(Service(frontend(version), (one,))))
            old.connect((CLUSTER_IP[version], 80))
            translator.apply(TableChange((Service(frontend(version), (other,)),)))
            for _ in range(20):
                with opened(pod, version) as new:
                    new.connect((CLUSTER_IP[version], 80))
                    second.accept()[0].close()
            with first.accept()[0] as accepted:
                old.sendall(b"still there")
                accepted.settimeout(LIMIT)
                assert accepted.recv(20) == b"still there"
            translator.apply(TableChange(gone=(frontend(version),)))
            with opened(pod, version) as none:
                none.settimeout(0.3)
                with pytest.raises(OSError):
                    none.connect((CLUSTER_IP[version], 80))

    def test_every_backend_gets_its_share_and_one_with_affinity_all(
        self, version: str, translator: services.Translator, admitted: tuple[namespaces.Namespace, namespaces.Namespace]
    ) -> None:
        pod, far = admitted
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(listening(far, version)) for _ in range(4)]
            backends = tuple(endpoint(version, server) for server in servers)
            translator.apply(
                table(Service(frontend(version), backends), Service(frontend(version, port=81), backends, affinity=60))
            )
            assert len(connected(pod, version, 80, servers)) == 4
            [kept] = connected(pod, version, 81, servers)
            left = tuple(each for each in backends if each.port != kept)
            translator.apply(TableChange((Service(frontend(version, port=81), left, affinity=60),)))
            [other] = connected(pod, version, 81, servers)
            assert other != kept
            translator.apply(TableChange((Service(frontend(version, port=81), backends, affinity=60),)))
            assert connected(pod, version, 81, servers) == {other}


def connected(pod: namespaces.Namespace, version: str, port: int, servers: list[socket.socket]) -> set[int]:
    """The ports of backends that 40 connections came to: each of four is left out in one of 100,000 runs."""
    for server in servers:
        server.setblocking(False)
    found = set()
    for _ in range(40):
        with opened(pod, version) as client:
            client.connect((CLUSTER_IP[version], port))
            for server in servers:
                with contextlib.suppress(BlockingIOError):
                    server.accept()[0].close()
                    found.add(server.getsockname()[1])
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("connects", [True, False], ids=["connected", "not connected"])
def test_udp_answers_come_from_the_service(
    version: str,
    connects: bool,
    translator: services.Translator,
    admitted: tuple[namespaces.Namespace, namespaces.Namespace],
) -> None:
    """As a resolver demands it: it drops an answer that is from elsewhere."""
    pod, far = admitted
    with listening(far, version, socket.SOCK_DGRAM) as server, opened(pod, version, socket.SOCK_DGRAM) as client:
        asked = frontend(version, Protocol.UDP, 53)
        translator.apply(table(Service(asked, (endpoint(version, server),))))
        if connects:
            client.connect((asked.address, 53))
            client.send(b"question")
        else:
            client.sendto(b"question", (asked.address, 53))
        question, sender = server.recvfrom(99)
        assert (question, sender[0]) == (b"question", POD[version])
        server.sendto(b"answer", sender)
        answer, source = client.recvfrom(99)
        assert (answer, source[:2]) == (b"answer", (asked.address, 53))


def test_an_ipv4_service_is_reached_from_a_socket_of_ipv6(
    translator: services.Translator, admitted: tuple[namespaces.Namespace, namespaces.Namespace]
) -> None:
    pod, far = admitted
    with listening(far, "4") as server, opened(pod, "6") as client:
        translator.apply(table(Service(frontend("4"), (endpoint("4", server),))))
        client.connect((f"::ffff:{CLUSTER_IP['4']}", 80))
        with server.accept()[0] as accepted:
            assert accepted.getpeername()[0] == POD["4"]


def test_everything_goes_on_without_the_daemon_and_the_next_one_takes_it_over(
    pins: pathlib.Path, pods: tuple[namespaces.Namespace, namespaces.Namespace]
) -> None:
    pod, far = pods
    with listening(far, "4") as first, listening(far, "4") as second:
        with bpf.translator(pins) as former:
            former.admit(netns.cookie(pod.handle))
            former.apply(table(Service(frontend("4"), (endpoint("4", first),), affinity=9), Service(frontend("6"))))
        reaches(pod, first)
        with bpf.translator(pins) as later:
            reaches(pod, first)
            later.apply(table(Service(frontend("4"), (endpoint("4", second),))))
            reaches(pod, second)
            assert contents(pins) == {"services": 1, "members": 0, "pods": 1}
            later.dismiss(later.admitted())
            assert contents(pins)["pods"] == 0
    services.remove(pins)
    assert services.LAYOUT not in [path.name for path in pins.iterdir()]


def reaches(pod: namespaces.Namespace, server: socket.socket) -> None:
    with opened(pod, "4") as client:
        client.connect((CLUSTER_IP["4"], 80))
        server.accept()[0].close()


def contents(pins: pathlib.Path) -> dict[str, int]:
    """How many entries each map has, without the proof's Services."""
    with bpf.translator(pins) as looking:
        found = (looking._services, looking._members, looking._pods)
        names = ("services", "members", "pods")
        counts = {name: len(list(each.entries())) for name, each in zip(names, found, strict=True)}
        return {**counts, "services": counts["services"] - 4}


def test_a_full_table_is_one_error_and_the_old_one_stays(
    translator: services.Translator, admitted: tuple[namespaces.Namespace, namespaces.Namespace]
) -> None:
    pod, far = admitted
    many = tuple(Endpoint("10.1.0.1", port) for port in range(1, 60001))
    with listening(far, "4") as server:
        translator.apply(table(Service(frontend("4"), (endpoint("4", server),))))
        huge = [Service(frontend("4", port=port), many) for port in range(80, 85)]
        with pytest.raises(
            errors.SriovError, match=r"no room for the 60000 backends of 10\.96\.0\.10, port 84, among the 22143 places"
        ):
            translator.apply(table(*huge))
        reaches(pod, server)


def test_more_services_than_the_kernel_has_room_for_are_one_error_and_the_old_ones_stay(
    translator: services.Translator, admitted: tuple[namespaces.Namespace, namespaces.Namespace]
) -> None:
    """The kernel takes a part of them first."""
    pod, far = admitted
    with listening(far, "4") as server:
        old = Service(frontend("4"), (endpoint("4", server),))
        translator.apply(table(old))
        every = (Service(Frontend(f"10.97.{index >> 8}.{index & 255}", 80, Protocol.TCP)) for index in range(1 << 16))
        with pytest.raises(errors.SriovError, match="the table of Services stays as it was"):
            translator.apply(TableChange((Service(frontend("4")), *every)))
        reaches(pod, server)
        translator.apply(TableChange((Service(frontend("6")),)))


def test_an_object_that_the_verifier_refuses_leaves_the_old_programs(
    pins: pathlib.Path, tmp_path: pathlib.Path, pods: tuple[namespaces.Namespace, namespaces.Namespace]
) -> None:
    """One instruction is another: a program that reads a register before it has a value."""
    pod, far = pods
    body = bytearray(bpf.built().read_bytes())
    section = body.index(b"\x7fELF") + 0x40  # the first section, of connect4, comes after the header
    body[section : section + 8] = bytes.fromhex("bf93000000000000")
    broken = tmp_path / "broken.o"
    broken.write_bytes(body)
    with listening(far, "4") as server, bpf.translator(pins) as translator:
        translator.admit(netns.cookie(pod.handle))
        translator.apply(table(Service(frontend("4"), (endpoint("4", server),))))
        with pytest.raises(errors.SriovError, match=r"broken\.o: the kernel refuses it"):
            services.Translator(pins, bpf.cgroup(), broken)
        reaches(pod, server)


def test_the_kernel_is_asked_whether_the_programs_run(translator: services.Translator, pins: pathlib.Path) -> None:
    assert translator.problems() == []
    (pins / services.LAYOUT / "connect4").unlink()
    assert namespaces.until(lambda: translator.problems() != [])
    assert translator.problems() == ["programs for Services are attached but do not run: connect4"]


def test_another_socket_balancer_is_attached_already(
    tmp_path: pathlib.Path, pods: tuple[namespaces.Namespace, namespaces.Namespace]
) -> None:
    """Two of us, which are strangers to each other: each serves its own pods."""
    pod, far = pods
    with contextlib.ExitStack() as stack:
        both = []
        for name in ("one", "other"):
            pins = stack.enter_context(bpf.mounted(tmp_path / name))
            both.append(stack.enter_context(bpf.translator(pins)))
            stack.callback(services.remove, pins)
        server = stack.enter_context(listening(far, "4"))
        both[0].apply(table(Service(frontend("4"))))
        both[0].admit(netns.cookie(far.handle))
        both[1].apply(table(Service(frontend("4"), (endpoint("4", server),))))
        both[1].admit(netns.cookie(pod.handle))
        assert [each.problems() for each in both] == [[], []]
        reaches(pod, server)
        with opened(far, "4") as client, pytest.raises(ConnectionRefusedError):
            client.connect((CLUSTER_IP["4"], 80))


def test_a_folder_that_is_no_bpf_file_system_is_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.SriovError, match=f"{tmp_path} is in no BPF file system; mount -t bpf"):
        services.Translator(tmp_path, bpf.cgroup(), bpf.built())
    with pytest.raises(errors.SriovError, match="no cgroup v2 at /nowhere"):
        services.Translator(tmp_path, pathlib.Path("/nowhere"), bpf.built())
