"""Root in a pod does one thing to its VF, a real veth here, and the host shows the VF as before.

What iproute2 and ethtool say is compared whole; this program's own reading of netdevs is not relied on. H1, H3.
"""

import contextlib
import json
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from sriov import devices, settings
from sriov.attachment import attach, detach, node, plans
from sriov.linux import kernel, netns
from sriov.state import ledger
from tests.fakes import mock_kernel, mock_node
from tests.kernel import namespaces

pytestmark = pytest.mark.root

VF = "0000:01:10.0"

ACTS = (
    "ip link property add dev net1 altname enp1s0v0",
    "ip link property add dev net1 altname enp1s0",
    "ip link property add dev net1 altname eth0",
    "ip link set net1 name eth0",
    "ip link set net1 alias mine",
    "ip link set net1 group 7",
    "ip link set net1 txqueuelen 1",
    "ip link set net1 gso_max_segs 7",
    "ip link set net1 gso_max_size 4000",
    "ip link set net1 gro_max_size 4000",
    "ip link set net1 multicast off",
    "ip link set net1 allmulticast on promisc on arp off",
    "ip link set net1 broadcast 02:00:00:00:00:66",
    "ip link set net1 address 02:00:00:00:00:66 mtu 1280",
    "ip link set net1 mode dormant",
    "ethtool -K net1 gro on tso off tx off",
    "ethtool -L net1 rx 1 tx 1",
)


@contextlib.contextmanager
def host(folder: pathlib.Path) -> Iterator[tuple[mock_node.MockNode, node.Node, ledger.Ledger]]:
    here = mock_node.MockNode(folder, pfs=1, vfs=1)
    with contextlib.closing(here), netns.open_path(f"/run/netns/{here.name}") as home, netns.entered(home):
        book = ledger.Ledger(folder / "run")
        book.create()
        yield here, node.Node(here.state.tree.tree, mock_kernel.opener(folder), home, patience=0.2), book


def shown(here: mock_node.MockNode) -> dict[str, Any]:
    """The VF at home. Whether the veth's far end is up, and its place beside it, are no settings of it."""
    netdev = here.netdev(VF)
    assert netdev is not None
    [link] = json.loads(_output("ip", "-d", "-j", "link", "show", netdev.name))
    link["flags"] = sorted(set(link["flags"]) - {"M-DOWN"})
    features, channels = (_output("ethtool", flag, netdev.name).splitlines() for flag in ("-k", "-l"))
    return {**link, "features": features, "channels": channels}


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def attached_to(there: node.Node, book: ledger.Ledger, pod: netns.Netns) -> kernel.Link:
    owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns="/run/netns/x")
    request = plans.Request(there.lookup(devices.pci_address(VF)), owner, settings.BASELINE)
    return attach.attach(there, book, request, pod)


@pytest.mark.parametrize("act", ACTS)
def test_h1_h3_nothing_of_it_is_seen_at_home(tmp_path: pathlib.Path, act: str) -> None:
    with host(tmp_path) as (here, there, book), namespaces.made("pod") as pod:
        before = shown(here)
        attached_to(there, book, pod.handle)
        inside = ("ip", "netns", "exec", pod.name)
        subprocess.run([*inside, *act.split()], check=True)
        record = book.read(devices.pci_address(VF))
        assert record is not None
        detach.detach(there, book, record, pod.handle)
        assert shown(here) == before
        assert attached_to(there, book, pod.handle).name == "net1", "the next tenant has no VF"
