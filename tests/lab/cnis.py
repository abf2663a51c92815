"""The CNI on the guest's own VFs: the real daemon in a thread, the real shim, addresses from host-local."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

from sriov import devices
from sriov.attachment.node import Node
from sriov.linux import kernel
from sriov.state import ledger
from tests.kernel import namespaces
from tests.lab import igb, shims
from tests.sriov_cni import harness

_IPAM_PLUGINS = "/usr/lib/cni"
SUBNET = "192.0.2.0/24"


@dataclasses.dataclass(frozen=True, slots=True)
class Cni:
    """A runtime on a node. `book` is the ledger that its daemon keeps below `folder`."""

    folder: pathlib.Path
    node: Node
    book: ledger.Ledger

    def call(
        self, command: str, pci: devices.PciAddress, pod: namespaces.Namespace | None, container: str, **wanted: object
    ) -> harness.Answer:
        ipam = {"type": "host-local", "dataDir": str(self.folder / "leases"), "ranges": [[{"subnet": SUBNET}]]}
        network = harness.configuration(pci, cniVersion="1.0.0", **{"ipam": ipam, **wanted})
        client = harness.Client(_socket(self.folder), _IPAM_PLUGINS, pod.path if pod else "", shims.quick())
        return client.call(command, network, CONTAINERID=container)

    def add(
        self, pci: devices.PciAddress, pod: namespaces.Namespace, container: str = "c1", **wanted: object
    ) -> harness.Answer:
        """ADD, which has to succeed."""
        answer = self.call("ADD", pci, pod, container, **wanted)
        assert answer.code == 0, answer
        return answer

    def delete(self, pci: devices.PciAddress, pod: namespaces.Namespace | None, container: str = "c1") -> None:
        """DEL, which has to succeed."""
        answer = self.call("DEL", pci, pod, container)
        assert answer.code == 0, answer

    def assert_nothing_is_held(self) -> None:
        assert list(self.book.records()) == []
        assert [path.name for path in self.folder.glob("leases/n1/192.*")] == []


@contextlib.contextmanager
def opened(folder: pathlib.Path) -> Iterator[Cni]:
    with igb.host(folder) as (here, book), harness.daemon(here, book, _socket(folder)):
        yield Cni(folder, here, book)


def links(pod: namespaces.Namespace) -> dict[str, kernel.Link]:
    """All that is in the pod, by name."""
    with igb.opened() as net, net.inside(pod.handle) as inner:
        return {link.name: link for link in inner.links()}


def addresses(pod: namespaces.Namespace, name: str = "net1") -> set[str]:
    """The link's, without those that IPv6 makes by itself."""
    with igb.opened() as net, net.inside(pod.handle) as inner:
        found = inner.addresses(inner.link(name).index)
        return {str(each) for each in found if not each.is_link_local}


def _socket(folder: pathlib.Path) -> pathlib.Path:
    return folder / "run/cni.sock"
