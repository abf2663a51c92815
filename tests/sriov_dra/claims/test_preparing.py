"""Preparing and unpreparing, with real files: refused, killed at each step, at once."""

import asyncio
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from sriov import devices, errors, settings
from sriov.kubelet._pb import drav1_pb2
from sriov.pools import assignment, health, resources
from sriov.state import grants, ledger
from sriov_dra import snapshot
from sriov_dra.claims import claim_files, claim_objects, edits, node_networks, preparing, reading
from sriov_dra.hook import installed
from sriov_dra.kubelet import claim_service
from tests.fakes import life
from tests.sriov.pools import facts
from tests.sriov_agent.cluster import Json
from tests.sriov_dra import hooks
from tests.sriov_dra.claims import claims

REFERENCE = preparing.ClaimReference("ml", "rails", "claim-uid")
OTHER = preparing.ClaimReference("ml", "other", "other-uid")


class Claims:
    """The API server's claims; `reads` counts."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Json] = {}
        self.reads = 0

    def put(self, told: Json) -> None:
        self.known[told["metadata"]["namespace"], told["metadata"]["name"]] = told

    async def claim(self, namespace: str, name: str) -> claim_objects.ClaimObject:
        self.reads += 1
        await asyncio.sleep(0)
        return claims.decoded(self.known[namespace, name])


class OldPods:
    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    async def holding(self, ids: frozenset[str]) -> Mapping[str, str]:
        return {device: pod for device, pod in self.held.items() if device in ids}


class MortalGrants(grants.Grants):
    def __init__(self, run_dir: pathlib.Path, until: life.Life) -> None:
        super().__init__(run_dir)
        self._life = until

    def write(self, grant: grants.ClaimGrant) -> None:
        self._life.effect("write grant")
        super().write(grant)

    def remove(self, uid: str) -> None:
        self._life.effect("remove grant")
        super().remove(uid)


class MortalFiles(claim_files.ClaimFiles, frozen=True):
    life: life.Life

    def write(
        self,
        claim: claim_objects.ClaimMetadata,
        made: Sequence[edits.PreparedDevice],
        hook: edits.Hook | None = None,
    ) -> None:
        self.life.effect("write files")
        super().write(claim, made, hook)

    def remove(self, uid: str) -> None:
        self.life.effect("remove files")
        super().remove(uid)


class Bench:
    """A node of `count` VFs in one pool, whose preparer may be killed; `start` starts the next one."""

    def __init__(self, root: pathlib.Path, count: int = 3, patience: float = 60.0) -> None:
        self.root, self.patience = root, patience
        self.found = [
            msgspec.structs.replace(facts.vf(0), id=each, pci=each, index=number)
            for number, each in enumerate(f"0000:01:{number >> 3:02x}.{number & 7}" for number in range(count))
        ]
        self.names = [each.id.replace(":", "-").replace(".", "-") for each in self.found]
        self.book = ledger.Ledger(root / "run")
        self.book.create()
        self.claims, self.old_pods = Claims(), OldPods()
        self.now = health.NONE
        self.changes: dict[str, str] = {}
        self.program = hooks.program()
        self.start()

    def start(self) -> None:
        """As the driver starts: what no claim has is swept."""
        self.life = life.Life()
        self.grants = MortalGrants(self.root / "run", self.life)
        self.grants.create()
        files = MortalFiles(claims.DRIVER, self.root / "cdi", self.root / "plugin", self.life)
        files.sweep({each.uid for each in self.grants.all()})
        self.preparer = preparing.Preparer(
            preparing.Surroundings(
                files=files,
                grants=self.grants,
                ledger=self.book,
                source=self.claims,
                old_pods=self.old_pods,
                taken=self.taken,
                changed=lambda one: self.changes.get(one.id),
                named=node_networks.NodeNetworks(self.root / "net.d").named,
                hook=installed.ClaimHook(self.program, self.root / "plugin").ready,
                patience=self.patience,
            )
        )

    def taken(self) -> snapshot.NodeSnapshot:
        wanted = resources.Resource("intel.com", "rail_a", publish=resources.Publication.DRA)
        catalog = facts.node(*self.found)
        dealt = assignment.assign(catalog, resources.Configuration((wanted,)), self.now)
        return snapshot.taken(claims.NODE, catalog, self.now, dealt)

    def put(self, *results: Json, **other: Any) -> None:
        self.claims.put(claims.claim(*(results or (claims.result(self.names[0]),)), **other))

    def prepare(self, wanted: preparing.ClaimReference = REFERENCE) -> tuple[preparing.PreparedAnswer, ...]:
        return asyncio.run(self.preparer.prepare(wanted))

    def hold(self, number: int = 0) -> None:
        owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns="")
        pci = devices.PciAddress(self.found[number].id)
        record = ledger.Record(pci=pci, owner=owner, netns=(0, 0), home=None, wanted=settings.BASELINE, mtu=1500)
        self.book.write(record)

    def files(self) -> list[str]:
        """Whole files only: drafts are hidden."""
        folders = (self.root / "cdi", self.root / "plugin", self.root / "run/claims")
        return sorted(path.name for folder in folders for path in folder.rglob("*.json"))


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Bench:
    return Bench(tmp_path)


ALL = ["claim-uid.json", "sriov-underlay-claim-claim-uid.json", "vf.json"]


def test_a_claim_leaves_three_files_and_takes_them_with_it(bench: Bench) -> None:
    bench.put()
    [answer] = bench.prepare()
    assert answer == preparing.PreparedAnswer(
        "vf", claims.POOL, bench.names[0], ("sriov-underlay/claim=claim-uid-vf",), None
    )
    assert (bench.files(), bench.claims.reads) == (ALL, 1)
    bench.preparer.unprepare(REFERENCE)
    bench.preparer.unprepare(REFERENCE)
    assert (bench.files(), bench.claims.reads) == ([], 1)


def test_two_devices_of_a_request_have_its_cdi_name_once(bench: Bench) -> None:
    """The kubelet passes every name on, and the runtime would apply its edits twice."""
    bench.put(claims.result(bench.names[0]), claims.result(bench.names[1], shareID="share"))
    first, second = bench.prepare()
    assert (first.cdi, second.cdi, second.share) == (("sriov-underlay/claim=claim-uid-vf",), (), "share")


@pytest.mark.parametrize("step", range(1, 3))
def test_killed_at_any_step_of_prepare_it_is_prepared_again_and_given_to_no_other(bench: Bench, step: int) -> None:
    bench.put()
    bench.put(uid="other-uid", name="other", pod="other-pod")
    bench.life.die_before(step)
    with pytest.raises(life.Killed):
        bench.prepare()
    bench.start()
    granted = "claim-uid" in {each.uid for each in bench.grants.all()}
    assert granted is (step > 1)
    if granted:
        with pytest.raises(reading.ClaimError, match="is granted to claim ml/rails"):
            bench.prepare(OTHER)
    bench.prepare()
    assert bench.files() == ALL
    with pytest.raises(reading.ClaimError, match="is granted to claim ml/rails"):
        bench.prepare(OTHER)


@pytest.mark.parametrize("step", range(1, 3))
def test_killed_at_any_step_of_unprepare_it_is_unprepared_again(bench: Bench, step: int) -> None:
    bench.put()
    bench.put(uid="other-uid", name="other", pod="other-pod")
    bench.prepare()
    bench.life.die_before(step)
    with pytest.raises(life.Killed):
        bench.preparer.unprepare(REFERENCE)
    bench.start()
    with pytest.raises(reading.ClaimError, match="is granted to claim ml/rails"):
        bench.prepare(OTHER)
    bench.preparer.unprepare(REFERENCE)
    assert bench.files() == []
    bench.prepare(OTHER)


def test_what_cannot_be_written_leaves_no_grant(bench: Bench, tmp_path: pathlib.Path) -> None:
    bench.put()
    (tmp_path / "cdi").write_text("")
    with pytest.raises(errors.SriovError, match=r"cannot write .*; is the folder mounted"):
        bench.prepare()
    assert bench.grants.all() == []


def test_a_vf_that_does_not_come_home_is_waited_for_and_then_let_go_and_given_to_nobody(tmp_path: pathlib.Path) -> None:
    bench = Bench(tmp_path, patience=0.2)
    bench.put()
    bench.put(uid="other-uid", name="other", pod="other-pod")
    bench.prepare()
    bench.hold()
    with pytest.raises(errors.BusyError, match=r"0000:01:00\.0 of claim ml/rails is not home yet"):
        bench.preparer.unprepare(REFERENCE)
    assert bench.files() == ALL
    asyncio.run(asyncio.sleep(0.25))
    bench.preparer.unprepare(REFERENCE)
    assert bench.files() == []
    with pytest.raises(reading.ClaimError, match=r"0000:01:00\.0 is held by container c1 as net1, which has it by no"):
        bench.prepare(OTHER)


def test_a_device_that_an_old_pod_was_given_is_refused_before_that_pods_add(bench: Bench) -> None:
    """The kubelet counts it still, and the CNI has not been called."""
    bench.put()
    bench.old_pods.held = {"0000:01:00.0": "ml/old-0"}
    with pytest.raises(reading.ClaimError, match="is in pod ml/old-0, which was given it by the device plugin"):
        bench.prepare()
    assert bench.files() == []


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (health.Conditions(dirty={"0000:01:00.0": "is not clean"}), "0000:01:00.0 cannot be given: it is not clean"),
        (
            health.Conditions(foreign={"0000:01:00.0": "is open elsewhere"}),
            "it is open elsewhere; see `sriovctl doctor`",
        ),
        (health.Conditions(unclaimed={"0000:01:00.0": "is in a pod"}), "0000:01:00.0 cannot be given: it is in a pod"),
    ],
)
def test_a_device_that_something_ails_is_refused(bench: Bench, now: health.Conditions, text: str) -> None:
    bench.now = now
    bench.put()
    with pytest.raises(reading.ClaimError) as caught:
        bench.prepare()
    assert text in str(caught.value)


def test_a_device_that_has_changed_since_the_last_look_is_refused_unless_the_claim_has_it(bench: Bench) -> None:
    bench.changes["0000:01:00.0"] = "is gone"
    bench.put()
    with pytest.raises(
        reading.ClaimError, match=r"^0000:01:00\.0 cannot be given: it is gone; the kubelet tries again"
    ):
        bench.prepare()
    assert bench.files() == []
    bench.changes.clear()
    bench.prepare()
    bench.changes["0000:01:00.0"] = "is about to go"
    bench.prepare()
    assert bench.files() == ALL


def hook_of(bench: Bench) -> list[Any]:
    [path] = (bench.root / "cdi").glob("*.json")
    return list(json.loads(path.read_bytes()).get("containerEdits", {}).get("hooks", []))


def test_every_container_of_the_claim_is_checked_before_it_starts(bench: Bench, tmp_path: pathlib.Path) -> None:
    """Once, whatever requests it names: the hook is the spec's."""
    bench.put(claims.result(bench.names[0], "a"), claims.result(bench.names[2], "b"))
    bench.prepare()
    path = str(tmp_path / "plugin/sriov-claim-hook")
    arguments = [path, str(bench.book.folder), "ml/rails", bench.found[0].id, bench.found[2].id]
    assert hook_of(bench) == [{"hookName": "createRuntime", "path": path, "args": arguments, "timeout": 10}]
    assert (tmp_path / "plugin/sriov-claim-hook").stat().st_mode & 0o111


def test_a_vf_that_may_be_missing_is_not_asked_for_and_the_reason_is_kept(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    told = claims.config(claims.parameters(unattached="ipvlan has it"), "b", of="FromClass")
    bench.put(claims.result(bench.names[0], "a"), claims.result(bench.names[2], "b"), configs=[told])
    bench.prepare()
    assert hook_of(bench)[0]["args"][3:] == [bench.found[0].id]
    assert [each.unattached for each in bench.grants.all()[0].devices] == ["", "ipvlan has it"]
    assert f"claim ml/rails: its pod may start without {bench.found[2].id}: ipvlan has it" in caplog.text
    bench.put(claims.result(bench.names[2], "b"), configs=[told])
    bench.prepare()
    assert hook_of(bench) == []


def test_without_a_hook_nothing_is_prepared_but_what_may_be_missing(bench: Bench, tmp_path: pathlib.Path) -> None:
    bench.program = tmp_path / "hook-of-another-machine"
    bench.start()
    bench.put()
    with pytest.raises(errors.SriovError, match="hook-of-another-machine cannot be read: No such file"):
        bench.prepare()
    assert (bench.files(), bench.grants.all()) == ([], [])
    bench.put(configs=[claims.config(claims.parameters(unattached="tested by hand"), of="FromClass")])
    bench.prepare()
    assert bench.files() == ALL


def test_a_network_of_the_node_is_found_in_a_list_of_plugins(bench: Bench, tmp_path: pathlib.Path) -> None:
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d/10-broken.conf").write_text("{")
    plugins = [{"type": "bridge", "vlan": 3}, {"type": "sriov", "vlan": 7, "ipam": {"type": "static"}}]
    (tmp_path / "net.d/20-blue.conflist").write_text(json.dumps({"name": "blue", "plugins": plugins}))
    (tmp_path / "net.d/30-red.conf").write_text(json.dumps({"name": "red", "type": "bridge"}))
    bench.put(configs=[claims.config(claims.parameters(network="blue"))])
    bench.prepare()
    [grant] = bench.grants.all()
    [device] = grant.devices
    assert (device.network, device.node_network, device.ipam) == ({"vlan": 7}, "blue", {"type": "static"})
    for name, text in (("red", "30-red.conf has no plugin of type sriov"), ("green", "there is none of this name in")):
        bench.put(configs=[claims.config(claims.parameters(network=name))])
        with pytest.raises(reading.ClaimError, match=text):
            bench.prepare()


@pytest.mark.parametrize(("owners", "own"), [([{"kind": "Pod", "name": "train-0"}], True), ([], False)])
def test_a_claim_from_a_template_is_its_pods_alone(bench: Bench, owners: list[dict[str, str]], own: bool) -> None:
    bench.put(ownerReferences=owners)
    bench.prepare()
    assert [each.of_one_pod for each in bench.grants.all()] == [own]


def test_of_claims_that_come_at_once_one_gets_the_device(bench: Bench) -> None:
    references = [preparing.ClaimReference("ml", f"c{number}", f"u{number}") for number in range(8)]
    for each in references:
        bench.put(name=each.name, uid=each.uid, pod=f"pod-{each.uid}")

    async def all_at_once() -> list[object]:
        return await asyncio.gather(*map(bench.preparer.prepare, references), return_exceptions=True)

    answers = asyncio.run(all_at_once())
    assert sum(isinstance(each, tuple) for each in answers) == 1
    assert len(bench.grants.all()) == 1


def test_a_claim_whose_preparing_fails_in_a_way_that_nobody_thought_of_keeps_no_other_from_its_answer(
    bench: Bench,
) -> None:
    bench.put()
    service = claim_service.ClaimService(bench.preparer, drav1_pb2)
    listed = [drav1_pb2.Claim(namespace="ml", name=name, uid=uid) for name, uid in (("rails", "claim-uid"), ("?", "x"))]
    request = drav1_pb2.NodePrepareResourcesRequest(claims=listed)
    answer: Any = asyncio.run(service.NodePrepareResources(request, None))
    assert [len(answer.claims["claim-uid"].devices), answer.claims["claim-uid"].error] == [1, ""]
    assert answer.claims["x"].error.startswith("unexpected KeyError")
