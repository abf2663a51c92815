"""The proof that Services work at all: on this machine's kernel, with what somebody else may do to it."""

import pathlib
import socket
import threading
from collections.abc import Iterator

import pytest

from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.linux import netns
from sriov_cni.dataplane import proof, service_maps, services
from tests.kernel import namespaces
from tests.sriov_cni import harness
from tests.sriov_cni.dataplane import bpf, test_services

pytestmark = pytest.mark.root
pins, pods = test_services.pins, test_services.pods
PORT = 4096  # of the proof's Services and their backends
TCP, UDP = Protocol


class Proving:
    """A daemon's translator, for a proof whenever one is asked for."""

    def __init__(self, translator: services.Translator) -> None:
        self.translator = translator
        self.maps = proof.Maps(translator._pods, translator._services, translator._backends)
        translator._proof = proof.Prover(self.maps, interval=0)

    def problems(self) -> list[str]:
        self.translator.prove()
        return self.translator.problems()

    @property
    def cookie(self) -> int:
        """Its own namespace's."""
        place = self.translator._proof._place
        assert place is not None
        return netns.cookie(place)


@pytest.fixture
def proving(pins: pathlib.Path) -> Iterator[Proving]:
    with bpf.translator(pins) as found:
        yield Proving(found)


@pytest.fixture
def another(tmp_path: pathlib.Path) -> Iterator[services.Translator]:
    """Other programs, attached after ours: what ours have translated comes to them."""
    with bpf.mounted(tmp_path / "other") as folder:
        with bpf.translator(folder) as found:
            yield found
        services.remove(folder)


def test_what_works_is_no_problem_and_nothing_is_left_of_its_proof(pins: pathlib.Path) -> None:
    with bpf.translator(pins) as once:
        once.prove()
    before, threads = namespaces.open_descriptors(), threading.active_count()
    with bpf.translator(pins) as translator:
        proving = Proving(translator)
        for _ in range(20):
            assert proving.problems() == []
            assert list(proving.maps.pods.entries()) == []
        assert namespaces.open_descriptors() > before
    assert (namespaces.open_descriptors(), threading.active_count()) == (before, threads)


def test_a_daemon_that_is_killed_in_the_middle_of_a_proof_leaves_nothing_for_long(pins: pathlib.Path) -> None:
    with bpf.translator(pins) as killed:
        killed._pods.update([(service_maps.pod(1), service_maps.pod_space(service_maps.PROOF))])
        killed.admit(2)
    with bpf.translator(pins) as following:
        assert [service_maps.cookie(key) for key, _ in following._pods.entries()] == [2]


def test_a_proof_is_made_when_it_is_time(proving: Proving) -> None:
    prover = proof.Prover(proving.maps)
    assert [prover.prove(now) for now in (0.0, 9.9, 10.0, 10.1, 25.0)] == [True, False, True, False, True]
    prover.close()


def test_programs_that_are_detached_behind_our_back(
    proving: Proving, pins: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (pins / services.LAYOUT / "sendmsg6").unlink()
    expected = "programs for Services are attached but do not run: sendmsg6"
    assert namespaces.until(lambda: proving.problems() == [expected])
    proving.problems()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"].count(expected) == 1


@pytest.mark.parametrize(
    ("backends", "reason"),
    [((), "Connection refused"), ((Endpoint("127.0.0.2", 9),), "Connection refused")],
    ids=["refuses", "sends it elsewhere"],
)
def test_another_program_of_the_cgroup_that_comes_after_ours(
    proving: Proving, another: services.Translator, backends: tuple[Endpoint, ...], reason: str
) -> None:
    assert proving.problems() == []
    another.admit(proving.cookie)
    another.apply(TableChange((Service(Frontend("127.0.0.1", PORT, TCP), backends),)))
    [problem] = proving.problems()
    assert problem.startswith(
        f"programs for Services are attached and run, but a TCP connection to 192.0.2.1 does not arrive: {reason}; "
    )
    assert problem in (harness.PROJECT / "docs/services.md").read_text()
    another.dismiss({proving.cookie})
    assert proving.problems() == []


@pytest.mark.parametrize(
    ("frontend", "what"),
    [
        (Frontend("192.0.2.1", PORT, TCP), "a TCP connection to 192.0.2.1"),
        (Frontend("192.0.2.1", PORT, UDP), "a datagram, or its answer, to 192.0.2.1"),
        (Frontend("100::1", PORT, TCP), "a TCP connection to 100::1"),
        (Frontend("100::1", PORT, UDP), "a datagram, or its answer, to 100::1"),
    ],
)
def test_a_table_that_somebody_has_changed(proving: Proving, frontend: Frontend, what: str) -> None:
    assert proving.problems() == []
    proving.maps.services.delete([service_maps.frontend(frontend, service_maps.PROOF)])
    [problem] = proving.problems()
    assert f"but {what} does not arrive: Network is unreachable; " in problem
    assert "restart the daemon" in problem


def test_a_whole_table_and_one_with_the_same_addresses_are_not_the_proofs(
    proving: Proving, pods: tuple[namespaces.Namespace, namespaces.Namespace]
) -> None:
    pod, far = pods
    proving.translator.admit(netns.cookie(pod.handle))
    assert proving.problems() == []
    assert proving.translator.admitted() == {netns.cookie(pod.handle)}
    with test_services.listening(far, "4") as server:
        backend = test_services.endpoint("4", server)
        proving.translator.apply(TableChange((Service(Frontend("192.0.2.1", PORT, TCP), (backend,)),), whole=True))
        with test_services.opened(pod, "4") as client:
            client.connect(("192.0.2.1", PORT))
            server.accept()[0].close()
    assert proving.problems() == []
    proving.translator.apply(TableChange(whole=True))
    assert proving.problems() == []


def test_a_pod_that_asks_for_the_proofs_addresses_gets_what_it_had_before(
    proving: Proving, pods: tuple[namespaces.Namespace, namespaces.Namespace]
) -> None:
    """Neither the Service of the proof, nor a way to its backend's address, its own loopback."""
    pod, _ = pods
    proving.translator.admit(netns.cookie(pod.handle))
    assert proving.problems() == []
    with test_services.opened(pod, "4") as server, test_services.opened(pod, "4") as client:
        server.bind(("127.0.0.1", PORT))
        server.listen()
        client.settimeout(0.3)
        with pytest.raises(OSError):
            client.connect(("192.0.2.1", PORT))
    with test_services.opened(pod, "6", socket.SOCK_DGRAM) as asking:
        asking.connect(("100::1", PORT))
        assert "00000001000000000000000001000000:1000" in peers(pod), "100::1 as the kernel writes it there"


def peers(pod: namespaces.Namespace) -> str:
    with netns.entered(pod.handle):
        return pathlib.Path("/proc/thread-self/net/udp6").read_text()
