"""Real VFs of a pod's claims: alone, behind another plugin, and as Multus calls, they carry frames and come home."""

import contextlib
import pathlib
from collections.abc import Iterator

import pytest

from sriov.state import grants, ledger
from sriov_cni.context import claims
from tests.kernel import namespaces
from tests.lab import cnis, igb, test_reach
from tests.sriov_cni import harness

INDICES = (3, 4, 5)
BEFORE = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": "x"}],
    "ips": [{"address": "10.88.0.2/16", "interface": 0}],
}
WAYS: dict[str, dict[str, object]] = {
    "alone": {"claims": "alone"},
    "chained": {"claims": "chained", "prevResult": BEFORE},
    "by Multus": {},
}


class Node:
    """The guest with a daemon that knows claims. Every pod's claim is named as its container."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.grants = grants.Grants(folder / "run")

    def grant(self, pod: str, *indices: int) -> None:
        devices = tuple(grants.GrantedDevice(igb.vf(each).pci, "vf", "p", "x") for each in indices)
        pods = (grants.GrantedPod(pod, f"{pod}-uid"),)
        self.grants.write(
            grants.ClaimGrant(uid=pod, namespace="ml", name=pod, pods=pods, devices=devices, of_one_pod=True)
        )

    def call(self, command: str, pod: str, where: namespaces.Namespace, **keys: object) -> harness.Answer:
        ipam = {"type": "host-local", "dataDir": str(self.folder / "leases"), "ranges": [[{"subnet": cnis.SUBNET}]]}
        network = {"cniVersion": "1.0.0", "name": "n1", "type": "sriov", "ipam": ipam, **keys}
        client = harness.Client(self.folder / "run/cni.sock", "/usr/lib/cni", where.path)
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME={pod};K8S_POD_UID={pod}-uid"
        return client.call(command, network, CONTAINERID=pod, IFNAME="eth0", ARGS=args)


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Iterator[tuple[Node, ledger.Ledger]]:
    with contextlib.ExitStack() as stack:
        here, book = stack.enter_context(igb.host(tmp_path))
        for index in INDICES:
            stack.enter_context(igb.borrowed(index))
        made = Node(tmp_path)
        book.create()
        made.grants.create()
        known = claims.PodClaims(tmp_path / "run")
        stack.enter_context(harness.daemon(here, book, tmp_path / "run/cni.sock", claims=known))
        yield made, book


@pytest.mark.parametrize("way", WAYS)
def test_a_pod_reaches_another_by_the_vfs_of_its_claim(node: tuple[Node, ledger.Ledger], way: str) -> None:
    here, book = node
    with namespaces.made("one") as one, namespaces.made("other") as other:
        by_name = way == "by Multus"
        several = INDICES[:1] if by_name else INDICES[:2]
        network = {**WAYS[way], **({"deviceID": igb.vf(INDICES[0]).pci} if by_name else {})}
        here.grant("one", *several)
        here.grant("other", INDICES[2])
        answer = here.call("ADD", "one", one, **network)
        assert answer.code == 0, answer
        assert len(list(book.records())) == len(several)
        peer = here.call("ADD", "other", other, claims="alone")
        assert peer.code == 0, peer
        [address] = [each["address"].partition("/")[0] for each in peer.document["ips"]]
        assert test_reach.pings(one, address)
        keys = {**network, "prevResult": answer.document}
        assert here.call("CHECK", "one", one, **keys).code == 0
        assert here.call("ADD", "third", other, deviceID=igb.vf(INDICES[0]).pci).code == 11, "that is another pod's"
        for pod, where, told in (("one", one, keys), ("other", other, {"claims": "alone"})):
            here.grants.remove(pod)
            answer = here.call("DEL", pod, where, **told)
            assert answer.code == 0, answer
        assert list(book.records()) == []
        assert [path.name for path in here.folder.glob("leases/n1/192.*")] == []
