"""A VF that had a netdev when its pod got it, and was bound to another driver while the pod had it."""

import asyncio
import pathlib

import pytest

from sriov import settings
from sriov.state import ledger
from sriov_cni.commands import repair
from sriov_cni.context import calls
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode

DRIVERS = ["vfio-pci", "uio_pci_generic", "pci-stub"]


def rebind(cni: CniNode, driver: str, vf: int = 0) -> None:
    """As with driver_override: the netdev ends, wherever it is."""
    cni.bench.machine.unbind(cni.bench.vfs[vf])
    cni.bench.machine.node.set_driver(cni.bench.vfs[vf], driver)


def bind_back(cni: CniNode) -> None:
    cni.bench.machine.unbind(cni.bench.vfs[0])
    cni.bench.machine.bind(cni.bench.vfs[0])


def record(cni: CniNode) -> ledger.Record:
    [found] = cni.bench.book.records()
    return found


def look(cni: CniNode) -> None:
    """What the daemon does now and then."""
    asyncio.run(repair.repair(calls.Daemon(cni.bench.node, cni.bench.book)))


@pytest.mark.parametrize("driver", DRIVERS)
def test_its_pod_ends_and_the_next_is_refused_by_name_until_it_has_its_driver_again(cni: CniNode, driver: str) -> None:
    network = cni.conf(vlan=100, ipam={"type": "fixed"})
    assert cni.client.call("ADD", network).code == 0
    rebind(cni, driver)
    for _ in range(2):
        assert cni.client.call("DEL", network).code == 0
        assert cni.bench.vf_state() == settings.BASELINE
        assert f"has driver {driver} and no netdev" in record(cni).problem
    assert harness.ipam_calls(cni.plugins, "fixed") == ["ADD", "DEL", "DEL"]
    before = cni.bench.machine.snapshot()
    refused = cni.client.call("ADD", network, CONTAINERID="c2")
    assert refused.code == 7, refused
    assert f"VF {cni.vf} has driver {driver} and no netdev, and had one when container c1" in refused.message
    assert "bind it to igbvf again" in refused.message
    assert cni.bench.machine.snapshot() == before
    bind_back(cni)
    look(cni)
    assert list(cni.bench.book.records()) == []
    assert cni.client.call("ADD", network, CONTAINERID="c2").code == 0
    assert cni.bench.in_pod().up


def test_an_add_finishes_what_was_left_once_it_has_its_driver_again(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    rebind(cni, "vfio-pci")
    assert cni.client.call("DEL", cni.conf()).code == 0
    bind_back(cni)
    assert cni.client.call("ADD", cni.conf(), CONTAINERID="c2").code == 0
    assert record(cni).owner.container_id == "c2"


def test_without_a_del_it_is_told_of_and_its_owner_is_left_alone(cni: CniNode) -> None:
    """Its namespace may be gone or not: the place of a VF that does not move says nothing."""
    assert cni.client.call("ADD", cni.conf(vlan=100)).code == 0
    look(cni)
    assert record(cni).problem == ""
    rebind(cni, "vfio-pci")
    cni.bench.machine.destroy("pod")
    before = cni.bench.machine.snapshot()
    look(cni)
    assert "has driver vfio-pci and no netdev" in record(cni).problem
    assert cni.bench.machine.snapshot() == before


def test_gc_ends_its_attachment_too(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    rebind(cni, "vfio-pci")
    answer = cni.client.call(
        "GC", cni.conf(**{"cni.dev/valid-attachments": []}), CONTAINERID=None, NETNS=None, IFNAME=None
    )
    assert answer.code == 0, answer
    assert "no netdev" in record(cni).problem


def test_its_own_pods_next_sandbox_is_refused_too(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    rebind(cni, "vfio-pci")
    with cni.bench.machine.namespace("again"):
        answer = cni.client.call("ADD", cni.conf(), NETNS=cni.bench.machine.path("again"))
    assert (answer.code, "bind it to igbvf again" in answer.message) == (7, True), answer


def test_a_record_of_an_older_version_knows_no_driver_and_is_kept_all_the_same(
    cni: CniNode, tmp_path: pathlib.Path
) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    path = tmp_path / f"run/vfs/{cni.vf}.json"
    path.write_text(path.read_text().replace(',"driver":"igbvf"', ""))
    assert record(cni).driver == ""
    rebind(cni, "vfio-pci")
    assert cni.client.call("DEL", cni.conf()).code == 0
    answer = cni.client.call("ADD", cni.conf(), CONTAINERID="c2")
    assert (answer.code, "bind it to its kernel driver again" in answer.message) == (7, True), answer


def test_what_is_bound_while_nobody_has_it_is_a_choice(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    assert cni.client.call("DEL", cni.conf()).code == 0
    rebind(cni, "vfio-pci")
    assert cni.client.call("ADD", cni.conf(vlan=5)).code == 0
    assert (record(cni).home, record(cni).driver) == (None, "vfio-pci")
    assert cni.client.call("DEL", cni.conf()).code == 0
    assert list(cni.bench.book.records()) == []


def test_a_vf_without_any_driver_is_released_and_refused_for_that(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    cni.bench.machine.unbind(cni.bench.vfs[0])
    assert cni.client.call("DEL", cni.conf()).code == 0
    assert list(cni.bench.book.records()) == []
    answer = cni.client.call("ADD", cni.conf())
    assert (answer.code, "has no driver" in answer.message) == (7, True), answer
