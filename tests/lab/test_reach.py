"""A VF that was attached carries frames: two pods without a MAC of their own ping each other."""

import contextlib
import pathlib
import subprocess

import pytest

from sriov import settings
from sriov.attachment import attach, detach, plans
from sriov.state import ledger
from tests.kernel import namespaces
from tests.lab import igb


def pings(pod: namespaces.Namespace, address: str) -> bool:
    """Patient: a VF has no carrier in its first second."""
    ping = ["ip", "netns", "exec", pod.name, "ping", "-c", "8", "-i", "0.5", "-W", "2", "-q", address]
    return " 0 received" not in subprocess.run(ping, check=False, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "macs",
    [
        ("02:00:00:00:ce:04", "02:00:00:00:ce:05"),
        (settings.NO_MAC, settings.NO_MAC),
    ],
    ids=["with a mac", "with the VF's own"],
)
def test_two_pods_reach_one_another(tmp_path: pathlib.Path, macs: tuple[str, str]) -> None:
    with igb.host(tmp_path) as (here, book), contextlib.ExitStack() as stack:
        pods = [stack.enter_context(namespaces.made("pod")) for _ in macs]
        for index, (mac, pod) in enumerate(zip(macs, pods, strict=True), 4):
            stack.enter_context(igb.borrowed(index))
            owner = ledger.Owner(container_id=f"c{index}", ifname="net1", network="n1", netns=pod.path)
            vf, wanted = here.lookup(igb.vf(index).pci), settings.VfSettings(mac=mac)
            link = attach.attach(here, book, plans.Request(vf, owner, wanted), pod.handle)
            address = ["ip", "-n", pod.name, "address", "add", f"10.9.9.{index}/24", "dev", link.name]
            subprocess.run(address, check=True)
        reached = pings(pods[0], "10.9.9.5")
        for record, pod in zip(sorted(book.records(), key=lambda each: each.pci), pods, strict=True):
            detach.detach(here, book, record, pod.handle)
        assert reached
