"""Services beside another socket balancer, at every hook, which was attached before ours or after (root)."""

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator, Sequence

import pytest

from sriov.cluster.services import Frontend, Protocol, Service
from sriov.linux import netns
from sriov.linux.bpf.programs import ATTACH_TYPES
from sriov_cni.dataplane import services
from tests.kernel import namespaces, programs
from tests.sriov_cni.dataplane import bpf, test_services
from tests.sriov_cni.dataplane.test_services import (
    CLUSTER_IP,
    POD,
    VERSIONS,
    endpoint,
    frontend,
    listening,
    opened,
    table,
)

pytestmark = pytest.mark.root
pods = test_services.pods
Pods = tuple[namespaces.Namespace, namespaces.Namespace]
Both = tuple[services.Translator, services.Translator]
Servers = tuple[socket.socket, socket.socket]


@pytest.fixture
def both(tmp_path: pathlib.Path) -> Iterator[Both]:
    """Two that know nothing of each other, in the order of their attachment."""
    with contextlib.ExitStack() as stack:
        made = []
        for name in ("first", "second"):
            pins = stack.enter_context(bpf.mounted(tmp_path / name))
            made.append(stack.enter_context(bpf.translator(pins)))
            stack.callback(services.remove, pins)
        yield made[0], made[1]


@pytest.mark.parametrize("ours", [0, 1], ids=["ours is first", "ours is second"])
@pytest.mark.parametrize("version", VERSIONS)
class TestBothServeThePod:
    """As Cilium does, which serves every namespace: whoever is first translates, and the other leaves it at that."""

    def test_a_connection(self, version: str, ours: int, both: Both, pods: Pods) -> None:
        pod, far = pods
        with listening(far, version) as first, listening(far, version) as second, opened(pod, version) as client:
            serve(both, ours, frontend(version), pod, (first, second))
            client.connect((CLUSTER_IP[version], 80))
            with first.accept()[0] as accepted:
                assert accepted.getpeername()[:2] == client.getsockname()[:2]
                assert accepted.getpeername()[0] == POD[version]
            assert client.getpeername()[:2] == (CLUSTER_IP[version], 80)

    @pytest.mark.parametrize("connects", [True, False], ids=["connected", "not connected"])
    def test_datagrams(self, version: str, ours: int, connects: bool, both: Both, pods: Pods) -> None:
        pod, far = pods
        kind = socket.SOCK_DGRAM
        with (
            listening(far, version, kind) as first,
            listening(far, version, kind) as second,
            opened(pod, version, kind) as client,
        ):
            serve(both, ours, frontend(version, Protocol.UDP), pod, (first, second))
            asked = (CLUSTER_IP[version], 80)
            if connects:
                client.connect(asked)
                client.send(b"question")
            else:
                client.sendto(b"question", asked)
            question, sender = first.recvfrom(99)
            assert (question, sender[0]) == (b"question", POD[version])
            first.sendto(b"answer", sender)
            answer, source = client.recvfrom(99)
            assert (answer, source[:2]) == (b"answer", asked)


def serve(both: Both, ours: int, asked: Frontend, pod: namespaces.Namespace, servers: Servers) -> None:
    """Each has another backend; ours gets the pod last, as a pod of a node with another balancer does."""
    version = "6" if ":" in asked.address else "4"
    for number in (1 - ours, ours):
        both[number].apply(table(Service(asked, (endpoint(version, servers[number]),))))
        both[number].admit(netns.cookie(pod.handle))
    assert [each.problems() for each in both] == [[], []]


@pytest.mark.parametrize("after", [False, True], ids=["before ours", "after ours"])
def test_programs_that_were_attached_without_links(tmp_path: pathlib.Path, pods: Pods, after: bool) -> None:
    """As older releases of others do, at all hooks."""
    pod, far = pods
    cgroup = os.open(bpf.cgroup(), os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, cgroup)
        others = [programs.in_cgroup(cgroup, hook) for hook in ATTACH_TYPES.values()]
        if not after:
            attach(stack, others)
        pins = stack.enter_context(bpf.mounted(tmp_path / "bpf"))
        translator = stack.enter_context(bpf.translator(pins))
        stack.callback(services.remove, pins)
        if after:
            attach(stack, others)
        assert translator.problems() == []
        translator.admit(netns.cookie(pod.handle))
        server = stack.enter_context(listening(far, "4"))
        translator.apply(table(Service(frontend("4"), (endpoint("4", server),))))
        test_services.reaches(pod, server)


def attach(stack: contextlib.ExitStack, others: Sequence[contextlib.AbstractContextManager[None]]) -> None:
    for each in others:
        stack.enter_context(each)
