"""A place whose daemon knows policies from a file, and one pod that they may select."""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

from sriov.cluster import policies
from sriov.cluster.policies import Grant, Opening, PortSpan, Rules, Transport
from sriov.linux import netns, nftables
from sriov_cni.dataplane.policies import policy_filter
from tests.fakes import policy_source
from tests.kernel import linked
from tests.kernel.linked import V4, V6, Place
from tests.sriov_cni import harness

POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME=a"
TABLE = "sriov-policy-net1"
WORLD = frozenset(map(policies.packed, (V4.gateway, V6.gateway, V4.far, V6.far)))
WEB = (PortSpan(Transport.TCP, 8080, 8080),)
DENY, OPEN, UNSELECTED = Rules(("none",), ("none",)), Rules(("web",), ("web",)), Rules()


def table(rules: Rules, network: str = "", peers: frozenset[bytes] = WORLD) -> policies.PolicyTable:
    grants = {"none": Grant("x/none"), "web": Grant("x/web", (Opening(("0123456789abcdef",), ports=WEB),))}
    places = {("x", "a", ""): Rules(), ("x", "a", network): rules}
    return policies.PolicyTable({"0123456789abcdef": peers}, grants, places, frozenset(policies.PolicyKind))


class Stage:
    """A place whose daemon knows policies from a file."""

    def __init__(self, place: Place, path: pathlib.Path) -> None:
        self.place, self._path = place, path

    def put(self, wanted: policies.PolicyTable) -> None:
        policy_source.write(self._path, wanted)

    def add(self, **keys: Any) -> harness.Answer:
        return self.place.client.call("ADD", network(**keys), ARGS=POD)

    def delete(self, **keys: Any) -> harness.Answer:
        return self.place.client.call("DEL", network(**keys), ARGS=POD)

    @property
    def digest(self) -> str:
        with netns.entered(self.place.pod.handle):
            return nftables.comment(TABLE, policy_filter.STAMP)

    @property
    def generation(self) -> int:
        with netns.entered(self.place.pod.handle):
            return nftables.generation()

    def reaches(self, of: linked.Addresses, *, ingress: bool, patience: float = linked.PATIENCE) -> bool:
        """Whether a connection between the world and the pod comes to be, by the VF."""
        pod, world = self.place.pod.handle, self.place.world.handle
        ends = (pod, of.pod, world) if ingress else (world, of.gateway, pod)
        try:
            linked.seen(*ends, patience=patience)
        except OSError:
            return False
        return True

    def is_cut_off(self, of: linked.Addresses, *, ingress: bool) -> bool:
        """Whether none comes to be while nothing has to be waited for."""
        return not self.reaches(of, ingress=ingress, patience=linked.QUIET)


def shown(here: Stage, family: str = "inet") -> str:
    """The pod's table, as nft shows it."""
    with netns.entered(here.place.pod.handle):
        command = ["nft", "list", "table", family, TABLE]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def network(**keys: Any) -> dict[str, object]:
    return linked.network(**{"policy": "kubernetes", **keys})


@contextlib.contextmanager
def opened(tmp_path: pathlib.Path, *options: str) -> Iterator[Stage]:
    """The stage, with a daemon that has `options`."""
    path = tmp_path / "policies"
    with linked.opened(tmp_path, "--policies", str(path), *options) as place:
        yield Stage(place, path)
