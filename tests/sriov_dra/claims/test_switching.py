"""A resource is switched to claims and back while pods of both kinds come and go: a VF is given to one at a time.

Each step may be anybody's at any time: the two programs look at the node when they like, and the kubelet asks whichever
it knows. All that they decide by is on disk or as of their last look, so that each might have been killed before it.
"""

import contextlib
import json
import pathlib
import random
from collections.abc import Callable

import msgspec

from deviceplugin import device_files
from sriov import errors
from sriov.pools import assignment, health, resources
from sriov.pools.resources import Publication
from sriov.state import grants
from sriov_cni.context import claims as pod_claims
from sriov_dra import snapshot
from tests.fakes import bench as benches
from tests.sriov.pools import facts
from tests.sriov_cni import harness
from tests.sriov_dra.claims import claims, test_preparing

WALKS, STEPS = 40, 60
_ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME={0};K8S_POD_UID={0}-uid"
OLD, NEW = "old-0", "train-0"


class Node(test_preparing.Bench):
    """One VF, the CNI's daemon, and what both programs and the kubelet believe. `attached` are the pods that have it.

    `given`: the kubelet has let a pod in with the VF by the device plugin; `prepared`: one by a claim.
    """

    def __init__(self, root: pathlib.Path, machine: benches.Bench) -> None:
        super().__init__(root, 1)
        self.machine, self.vf = machine, machine.vfs[0]
        self.found = [msgspec.structs.replace(facts.vf(0), id=self.vf, pci=self.vf)]
        self.names = [self.vf.replace(":", "-").replace(".", "-")]
        self.configured = Publication.DEVICE_PLUGIN
        self.given = self.prepared = False
        self.attached: set[str] = set()
        self.giver = device_files.Handout(facts.NOWHERE, lambda: grants.claims(root / "run"))
        self.plugin_looks()
        self.driver_looks()

    def taken(self) -> snapshot.NodeSnapshot:
        return self.view

    def plugin_looks(self) -> None:
        [self.pool] = self._dealt()

    def driver_looks(self) -> None:
        self.view = snapshot.taken(claims.NODE, facts.node(*self.found), self._now(), self._dealt())

    def switch(self) -> None:
        others = {Publication.DRA: Publication.DEVICE_PLUGIN, Publication.DEVICE_PLUGIN: Publication.DRA}
        self.configured = others[self.configured]

    def old_pod_comes(self) -> None:
        """The kubelet gives what the plugin has listed as healthy, and writes that down."""
        listed = self.pool.settings.publish is Publication.DEVICE_PLUGIN and self.pool.devices[0].ailment is None
        if listed and not self.given:
            self.giver.allocate(self.pool, [[self.vf]])
            assert not self.prepared, "given twice"
            self.given, self.old_pods.held = True, {self.vf: f"ml/{OLD}"}

    def claim_comes(self) -> None:
        """The scheduler gives what is in a slice without a taint; the kubelet has it prepared."""
        device = self.view.devices.get((claims.POOL, self.names[0]))
        if device is not None and not self.prepared:
            self.put(claims.result(self.names[0]), pod=f"{NEW}-uid")
            self.prepare()
            assert not self.given, "given twice"
            self.prepared = True

    def old_pods_add(self) -> None:
        self._add(OLD, self.given)

    def claims_add(self) -> None:
        self._add(NEW, self.prepared)

    def old_pod_ends(self) -> None:
        if self.given:
            self._del(OLD)
            self.given, self.old_pods.held = False, {}

    def claim_ends(self) -> None:
        if self.prepared:
            self._del(NEW)
            self.preparer.unprepare(test_preparing.REFERENCE)
            self.prepared = False

    def killed(self) -> None:
        """Both programs start again."""
        self.start()
        self.plugin_looks()
        self.driver_looks()

    def _add(self, pod: str, may: bool) -> None:
        if may and pod not in self.attached:
            self._call("ADD", pod)
            self.attached.add(pod)

    def _del(self, pod: str) -> None:
        self._call("DEL", pod)
        self.attached.discard(pod)

    def _call(self, command: str, pod: str) -> None:
        stdin = json.dumps(harness.configuration(self.vf)).encode()
        where = {"NETNS": self.machine.machine.path(pod), "IFNAME": "net1", "PATH": "", "ARGS": _ARGS.format(pod)}
        harness.call_without_a_process(self.root / "cni.sock", stdin, COMMAND=command, CONTAINERID=pod, **where)

    def _dealt(self) -> tuple[assignment.Pool, ...]:
        wanted = resources.Resource("intel.com", "rail_a", publish=self.configured)
        return assignment.assign(facts.node(*self.found), resources.Configuration((wanted,)), self._now())

    def _now(self) -> health.Conditions:
        claimed = grants.claims(self.root / "run")
        return health.Conditions(claimed=claimed, unclaimed=health.by_no_claim(self.book.held(), claimed))


STEPS_OF: list[Callable[[Node], None]] = [
    Node.switch, Node.plugin_looks, Node.driver_looks, Node.killed, Node.old_pod_comes, Node.old_pods_add,
    Node.old_pod_ends, Node.claim_comes, Node.claims_add, Node.claim_ends,
]  # fmt: skip


def test_switched_to_and_fro_a_vf_is_given_to_one_at_a_time(tmp_path: pathlib.Path) -> None:
    machine = benches.make(tmp_path)
    for pod in (OLD, NEW):
        machine.machine.namespace(pod)
    granted = pod_claims.PodClaims(tmp_path / "run")
    chance, both = random.Random(7), {"given": 0, "prepared": 0}  # noqa: S311 (the same walks in each run)
    with harness.daemon(machine.node, machine.book, tmp_path / "cni.sock", machine.machine.adopt, claims=granted):
        for _ in range(WALKS):
            node = Node(tmp_path, machine)
            for _ in range(STEPS):
                with contextlib.suppress(errors.SriovError):  # refused, and tried again some time
                    chance.choice(STEPS_OF)(node)
                assert len(node.attached) <= 1
                both["given"] += node.given
                both["prepared"] += node.prepared
            node.old_pod_ends()
            node.claim_ends()
            assert (list(node.book.records()), node.grants.all(), node.files()) == ([], [], [])
    assert min(both.values()) > WALKS, "else this would show nothing"
    machine.pod.close()
    machine.machine.close()
