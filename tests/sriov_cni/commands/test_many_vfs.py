"""A PF with more VFs than the kernel can show at once: pods come and go, and CHECK looks at what can be seen."""

import logging

import pytest

from sriov import settings
from sriov.linux import kernel
from tests.sriov_cni.conftest import CniNode

VFS = 1400


@pytest.fixture
def crowded(cni: CniNode) -> CniNode:
    """The PF has many VFs more, none of which has a netdev here."""
    table = cni.bench.machine.pf(2)
    assert table is not None
    table.vfs += [settings.BASELINE] * (VFS - len(table.vfs))
    return cni


def test_f36_add_and_del_never_read_the_pfs_list(crowded: CniNode) -> None:
    network = crowded.conf(vlan=100, mac="02:00:00:00:cc:01")
    crowded.bench.machine.requests.clear()
    assert crowded.client.call("ADD", network).code == 0
    assert crowded.client.call("DEL", network).code == 0
    requests = crowded.bench.machine.requests
    assert requests
    assert [each for each in requests if each.startswith("show VF")] == []


def test_f36_check_says_that_it_sees_the_netdev_only(crowded: CniNode, caplog: pytest.LogCaptureFixture) -> None:
    network = crowded.conf(vlan=100)
    network["prevResult"] = crowded.client.call("ADD", network).document
    with caplog.at_level(logging.WARNING):
        assert crowded.client.call("CHECK", network).code == 0
    [said] = [record.message for record in caplog.records if "CHECK" in record.message]
    assert crowded.vf in said
    assert "EMSGSIZE" in said
    with crowded.bench.node.kernel() as net, net.inside(crowded.bench.pod) as inner:
        inner.set_link("net1", kernel.Change(up=False))
    assert crowded.client.call("CHECK", network).code == 101
