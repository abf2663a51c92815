"""UDP sockets whose Service has lost their backend, on real sockets in real namespaces."""

import contextlib
import errno
import logging
import socket
import time
from collections.abc import Iterator

import pytest

from sriov import devices, settings
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.linux import netns
from sriov.linux.sockets import inet_diag
from sriov.state import ledger
from sriov_cni.dataplane import service_maps, services, stale_sockets
from tests.kernel import namespaces
from tests.sriov_cni.dataplane import test_services
from tests.sriov_cni.dataplane.test_services import CLUSTER_IP, FAR, VERSIONS, endpoint, frontend, listening, opened

pins, translator, pods, admitted = (
    test_services.pins,
    test_services.translator,
    test_services.pods,
    test_services.admitted,
)
Pods = tuple[namespaces.Namespace, namespaces.Namespace]
UDP = Protocol.UDP


def record(pod: namespaces.Namespace, cookie: int | None = None) -> ledger.Record:
    owner = ledger.Owner(container_id="c", ifname="net1", network="n", netns=pod.path)
    known = netns.cookie(pod.handle) if cookie is None else cookie
    return ledger.Record(
        pci=devices.pci_address("0000:01:10.0"), owner=owner, netns=pod.handle.identity, home=None,
        wanted=settings.BASELINE, mtu=0, cookie=known,
    )  # fmt: skip


class Daemon:
    """What a daemon does with a change, with `pods` in its ledger."""

    def __init__(self, translator: services.Translator, *pods: namespaces.Namespace) -> None:
        self.ended = 0
        self._translator = translator
        records = [record(pod) for pod in pods]
        self.ender = stale_sockets.Ender(translator.reached, lambda: records, self._count)

    def _count(self, sockets: int) -> None:
        self.ended += sockets

    def apply(self, change: TableChange) -> None:
        self._translator.apply(change)
        self.ender.note(change)
        self.ender.end()


def asked(client: socket.socket, version: str, port: int = 53) -> socket.socket:
    """Connected to the Service, which it has asked something."""
    client.connect((CLUSTER_IP[version], port))
    client.send(b"question")
    return client


def outcome(client: socket.socket) -> int:
    """The error with which it learns of its end, waiting for an answer; 0 if it has no end, and can send."""
    client.setblocking(False)
    try:
        with contextlib.suppress(BlockingIOError):
            client.recv(9)
        client.send(b"question")
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.root
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("gone", ["backend", "all backends", "Service"])
def test_a_socket_that_is_connected_to_a_backend_that_goes_is_ended_and_no_other(
    version: str, gone: str, translator: services.Translator, admitted: Pods
) -> None:
    pod, far = admitted
    daemon = Daemon(translator, pod)
    ours, others = frontend(version, UDP, 53), frontend(version, UDP, 54)
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(listening(far, version, socket.SOCK_DGRAM)) for _ in range(2))
        stream = stack.enter_context(listening(far, version))
        client, other, direct, new = (stack.enter_context(opened(pod, version, socket.SOCK_DGRAM)) for _ in range(4))
        tcp = stack.enter_context(opened(pod, version))
        one, two = endpoint(version, first), endpoint(version, second)
        by_tcp = frontend(version, port=53)
        daemon.apply(
            TableChange(
                (Service(ours, (one,)), Service(others, (one,)), Service(by_tcp, (endpoint(version, stream),))),
                whole=True,
            )
        )
        asked(client, version)
        asked(other, version, 54)
        direct.connect((FAR[version], one.port))
        tcp.connect((CLUSTER_IP[version], 53))
        daemon.apply(TableChange((Service(others, (one, two)),)))
        assert [outcome(each) for each in (client, other, direct)] == [0, 0, 0], "nothing has gone"
        changes = {
            "backend": TableChange((Service(ours, (two,)), Service(by_tcp))),
            "all backends": TableChange((Service(ours), Service(by_tcp))),
            "Service": TableChange(gone=(ours, by_tcp)),
        }
        daemon.apply(changes[gone])
        assert outcome(client) == errno.ECONNABORTED
        assert [outcome(each) for each in (other, direct)] == [0, 0]
        tcp.sendall(b"goes on")
        assert daemon.ended == 1
        if gone == "backend":
            asked(new, version)
            asked(client, version)
            assert [outcome(each) for each in (client, new)] == [0, 0], "it connects again"
            second.settimeout(test_services.LIMIT)
            assert second.recv(9) == b"question"


@pytest.mark.root
def test_an_ipv4_service_of_a_socket_of_ipv6(translator: services.Translator, admitted: Pods) -> None:
    pod, far = admitted
    daemon = Daemon(translator, pod)
    with listening(far, "4", socket.SOCK_DGRAM) as server, opened(pod, "6", socket.SOCK_DGRAM) as client:
        daemon.apply(TableChange((Service(frontend("4", UDP, 53), (endpoint("4", server),)),)))
        client.connect((f"::ffff:{CLUSTER_IP['4']}", 53))
        daemon.apply(TableChange(gone=(frontend("4", UDP, 53),)))
        assert outcome(client) == errno.ECONNABORTED


@pytest.mark.root
def test_a_whole_table_ends_what_went_while_nobody_looked(translator: services.Translator, admitted: Pods) -> None:
    """The daemon was away between the two, and so does not know the first."""
    pod, far = admitted
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(listening(far, "4", socket.SOCK_DGRAM)) for _ in range(2))
        stale, gone, kept = (stack.enter_context(opened(pod, "4", socket.SOCK_DGRAM)) for _ in range(3))
        one, two = endpoint("4", first), endpoint("4", second)
        former = (Service(frontend("4", UDP, port), (one,)) for port in (53, 54, 55))
        translator.apply(TableChange((*former,), whole=True))
        for client, port in ((stale, 53), (gone, 54), (kept, 55)):
            asked(client, "4", port)
        Daemon(translator, pod).apply(
            TableChange((Service(frontend("4", UDP, 53), (two,)), Service(frontend("4", UDP, 55), (one,))), whole=True)
        )
        assert [outcome(each) for each in (stale, gone, kept)] == [errno.ECONNABORTED, errno.ECONNABORTED, 0]


@pytest.mark.root
def test_a_namespace_that_is_nobodys_pod_any_more_is_not_entered(
    translator: services.Translator, admitted: Pods
) -> None:
    """Its record is another's, or its path leads to another namespace by now."""
    pod, far = admitted
    ours = frontend("4", UDP, 53)
    with listening(far, "4", socket.SOCK_DGRAM) as server, opened(pod, "4", socket.SOCK_DGRAM) as client:
        translator.apply(TableChange((Service(ours, (endpoint("4", server),)),)))
        asked(client, "4")
        swapped = record(far, netns.cookie(pod.handle))
        for records in ([], [record(far)], [swapped]):
            ender = stale_sockets.Ender(translator.reached, lambda found=records: found)  # type: ignore[misc]
            ender.note(TableChange((Service(ours),)))
            ender.end()
            assert outcome(client) == 0


@pytest.mark.root
def test_a_pod_with_many_sockets_delays_no_change(translator: services.Translator, admitted: Pods) -> None:
    pod, far = admitted
    daemon, ours = Daemon(translator, pod), frontend("4", UDP, 53)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(listening(far, "4", socket.SOCK_DGRAM))
        translator.apply(TableChange((Service(ours, (endpoint("4", server),)),)))
        for _ in range(400):
            asked(stack.enter_context(opened(pod, "4", socket.SOCK_DGRAM)), "4")
        began = time.monotonic()
        translator.apply(TableChange(gone=(ours,)))
        daemon.ender.note(TableChange(gone=(ours,)))
        assert time.monotonic() - began < 0.1
        daemon.ender.end()
        assert daemon.ended == 400


class Old:
    """A kernel that lists sockets and ends none, or lists none."""

    def __init__(self, number: int, peer: Endpoint, cookie: int, *, lists: bool = True) -> None:
        self._number, self._peer, self._cookie, self._lists = number, peer, cookie, lists

    def connected_udp(self) -> Iterator[inet_diag.UdpSocket]:
        if not self._lists:
            raise OSError(self._number, "")
        address = bytes(10) + b"\xff\xff" + socket.inet_aton(self._peer.address)
        yield inet_diag.UdpSocket(socket.AF_INET, b"", address, self._peer.port, self._cookie)

    def end(self, which: inet_diag.UdpSocket) -> None:
        raise OSError(self._number, "")

    def close(self) -> None:
        """Hold nothing."""


@pytest.mark.root
@pytest.mark.parametrize(
    ("number", "lists", "reason"),
    [
        (errno.EOPNOTSUPP, True, "this kernel does not end sockets"),
        (errno.ENOENT, False, "this kernel does not end sockets"),
        (errno.EPERM, True, "Operation not permitted"),
    ],
)
def test_a_kernel_that_ends_no_sockets_is_said_once_and_nothing_fails(
    number: int, lists: bool, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    peer, asked_for = Endpoint("10.1.0.1", 53), Frontend("10.96.0.10", 53, UDP)
    with namespaces.made("pod") as pod:
        cookie = netns.cookie(pod.handle)
        entry = (7, cookie, service_maps.address(peer, UDP), service_maps.frontend(asked_for))
        counted: list[int] = []
        ender = stale_sockets.Ender(
            lambda: [entry], lambda: [record(pod)], counted.append, lambda: Old(number, peer, 7, lists=lists)
        )
        for _ in range(3):
            ender.note(TableChange(gone=(asked_for,)))
            ender.end()
    assert counted == []
    [line] = [each.message for each in caplog.records]
    assert line.startswith(f"UDP sockets of pods stay connected to backends that are gone: {reason}")


A, B = Endpoint("10.1.0.1", 53), Endpoint("10.1.0.2", 53)
DNS = Frontend("10.96.0.10", 53, UDP)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ([TableChange((Service(DNS, (B,)),))], {A}),
        ([TableChange((Service(DNS, (A, B)),))], set()),
        ([TableChange(gone=(DNS,))], {A, B}),
        ([TableChange(gone=(DNS,)), TableChange((Service(DNS, (A,)),))], {B}),
        ([TableChange((Service(DNS),)), TableChange((Service(DNS, (A, B)),))], set()),
        ([TableChange(whole=True)], {A, B}),
        ([TableChange((Service(DNS, (A,)),), whole=True)], {B}),
        ([TableChange((Service(Frontend("10.96.0.10", 53, Protocol.TCP)),))], set()),
        ([], set()),
    ],
)
def test_which_sockets_are_stale_is_what_the_last_change_leaves(
    changes: list[TableChange], left: set[Endpoint]
) -> None:
    present = stale_sockets.Present()
    for change in changes:
        present.change(change)
    keys = {each: service_maps.address(each, UDP) for each in (A, B)}
    reached = [(number, 99, key, service_maps.frontend(DNS)) for number, key in enumerate(keys.values())]
    others = [
        (7, 99, keys[A], service_maps.frontend(DNS, service_maps.PROOF)),
        (8, 99, keys[A], service_maps.frontend(Frontend("10.96.0.11", 53, Protocol.TCP))),
    ]
    stale = present.stale([*reached, *others]).get(99, {})
    assert {each for each in (A, B) if keys[each] in stale.values()} == left
    assert not {7, 8} & {*stale}
