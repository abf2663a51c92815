"""Counters of a real link in a real namespace (root)."""

import pathlib
import subprocess
import threading

import msgspec
import pytest

from sriov import settings
from sriov.linux import netns
from sriov.state import ledger, vf_identity
from sriov_cni.monitoring import counters
from tests.kernel import namespaces

pytestmark = pytest.mark.root


def held(pod: namespaces.Namespace) -> ledger.Record:
    return ledger.Record(
        pci="0000:01:10.0",  # type: ignore[arg-type]
        owner=ledger.Owner(container_id="c1", ifname="net1", network="n1", netns=pod.path),
        netns=pod.handle.identity,
        home=vf_identity.VfIdentity(name="eth7", address="02:00:00:00:00:07", mtu=1500),
        wanted=settings.BASELINE,
        mtu=1500,
    )


def leading_to(record: ledger.Record, path: str) -> ledger.Record:
    return msgspec.structs.replace(record, owner=msgspec.structs.replace(record.owner, netns=path))


def run(pod: namespaces.Namespace, *arguments: str) -> None:
    subprocess.run(["ip", "-n", pod.name, *arguments], check=True)


def test_what_was_sent_is_counted_and_the_thread_comes_home() -> None:
    with namespaces.made("pod") as pod:
        run(pod, "link", "add", "net1", "type", "veth", "peer", "name", "peer1")
        run(pod, "link", "set", "net1", "up")
        run(pod, "link", "set", "peer1", "up")
        run(pod, "address", "add", "192.0.2.1/24", "dev", "net1")
        before = counters.of(held(pod))
        ping = ["ip", "netns", "exec", pod.name, "ping", "-c", "3", "-i", "0.01", "-W", "0.1", "192.0.2.9"]
        run(pod, "neighbour", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "net1")
        subprocess.run(ping, check=False, capture_output=True)
        after = counters.of(held(pod))
        assert before is not None
        assert after is not None
        assert after.sent.packets - before.sent.packets >= 3
        assert after.sent.bytes - before.sent.bytes >= 3 * 98
        assert (after.sent.errors, after.received.errors) == (0, 0)
        with netns.own() as here:
            assert here.identity != pod.handle.identity


def test_it_works_from_any_thread_and_leaves_no_descriptor() -> None:
    with namespaces.made("pod") as pod:
        run(pod, "link", "add", "net1", "type", "veth", "peer", "name", "peer1")
        found: list[object] = []
        threads = [threading.Thread(target=lambda: found.append(counters.of(held(pod)))) for _ in range(8)]
        before = namespaces.open_descriptors()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert None not in found
        assert namespaces.open_descriptors() == before


def test_nothing_is_told_of_what_is_not_there(tmp_path: pathlib.Path) -> None:
    with namespaces.made("pod") as pod, namespaces.made("other") as other:
        record = held(pod)
        assert counters.of(record) is None, "no such link"
        for each in (pod, other):
            run(each, "link", "add", "net1", "type", "veth", "peer", "name", "peer1")
        assert counters.of(record) is not None
        assert counters.of(leading_to(record, other.path)) is None, "the path leads to another namespace"
        (tmp_path / "file").touch()
        assert counters.of(leading_to(record, str(tmp_path / "file"))) is None
        assert counters.of(leading_to(record, str(tmp_path / "absent"))) is None
