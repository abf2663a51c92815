"""Adversary: pods with root and NET_ADMIN act between our calls, daemons die, and the node must stay sound.

A RuleBasedStateMachine with real namespaces, real netlink, daemons as processes that die by SIGKILL; the VFs are veths
(tests/fakes/mock_node.py). After each step: no link is in the host that was not there before; a free VF is, by a whole
dump, as it was when it was first seen; a VF that is in the host and not free, or whose DEL has failed, is not offered
as healthy. The next tenant's ADD of a VF that has come back succeeds, and finds nothing of the former one there.
"""

import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping

import hypothesis
from hypothesis import stateful, strategies

from sriov import devices, settings
from sriov.state import ledger
from tests.adversary import acts, daemons, dumps, nursery, places, requests, runtime

SLOTS = strategies.integers(0, 2)
WHO = strategies.integers(0, 5)
"""Number of one of those that exist."""
VFS = strategies.integers(0, 1)
NETWORKS: dict[str, dict[str, object]] = {
    "plain": {},
    "vlan, trust": {"vlan": 100, "vlanQoS": 3, "trust": "on"},
    "mac, vlan": {"mac": "02:00:00:00:cc:02", "vlan": 200},
    "mtu, address": {"mtu": 1400, "ipam": {"type": "pool"}},
}
NONE = (0, "")
TROUBLES = strategies.just(NONE)
if acts.DEEDS_ON:
    TROUBLES |= strategies.tuples(strategies.integers(1, 16), strategies.sampled_from(acts.DEEDS_ON))
"""Place in a call's work at which something happens to the daemon."""


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """State shared by all schedules of a test. `given` is what a pod finds in a VF that nobody had before."""

    stage: places.Stage
    nursery: daemons.Nursery
    given: Mapping[devices.PciAddress, dumps.Dump]


@contextlib.contextmanager
def opened(stage: places.Stage) -> Iterator[World]:
    with contextlib.closing(daemons.Nursery(stage.host, stage.folder, is_mock=stage.is_mock)) as nursery:
        yield World(stage, nursery, _as_first_given(stage, nursery))


def _as_first_given(stage: places.Stage, nursery: daemons.Nursery) -> dict[devices.PciAddress, dumps.Dump]:
    found = {}
    with contextlib.closing(runtime.Runtime(stage, nursery, stage.folder / "first")) as here:
        for number, pci in enumerate(stage.vfs):
            pod, network = stage.place(), _network(pci, "plain")
            answer = here.call("ADD", network, f"p{number}", pod.path)
            assert answer.ok, answer
            found[pci] = dumps.whole(pod.handle, stage.find()[pci].link.index)
            assert here.call("DEL", network, f"p{number}", pod.path).ok
            stage.end(pod)
    return found


def _network(pci: str, keys: str) -> dict[str, object]:
    return {"cniVersion": "1.1.0", "name": "n1", "type": "sriov", "deviceID": pci, **NETWORKS[keys]}


class Tenancy:
    """A VF that a pod has. `touched` is whether the pod has done anything to it."""

    def __init__(self, pci: devices.PciAddress, network: dict[str, object], answer: daemons.Answer) -> None:
        self.pci = pci
        self.network = network
        self.result = answer.document
        self.touched = False


class Adversary(stateful.RuleBasedStateMachine):
    """`pods` are the living ones, by slot; `given` what they have; `owed` pods with an ADD and no good DEL since.

    `stuck` are the VFs that could not be taken back, each with the pod that has it.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self.stage, self.nursery, self.first = world.stage, world.nursery, world.given

    @stateful.initialize(keys=strategies.sampled_from(sorted(NETWORKS)), binds=strategies.booleans())
    def start(self, keys: str, binds: bool) -> None:
        self.here = runtime.Runtime(self.stage, self.nursery, self.stage.folder / "run", binds=binds)
        self.pods = ["p0", "p1", "p2"]
        self.born = 3
        self.places: dict[str, places.Place] = {}
        self.given: dict[str, Tenancy] = {}
        self.owed: dict[str, dict[str, object]] = {}
        self.stuck: set[tuple[devices.PciAddress, str]] = set()
        self.used: set[devices.PciAddress] = set()
        self.add(0, 0, keys, NONE)

    # The runtime.

    @stateful.rule(slot=SLOTS, vf=VFS, keys=strategies.sampled_from(sorted(NETWORKS)), trouble=TROUBLES)
    def add(self, slot: int, vf: int, keys: str, trouble: tuple[int, str]) -> None:
        name, pci = self.pods[slot], self.stage.vfs[vf]
        if name in self.owed and (name not in self.given or self.given[name].pci != pci):
            return  # a runtime calls DEL after an ADD that failed, and before another
        place, network = self._place(name), _network(pci, keys)
        free, taken = self.stage.find()[pci].where is None, runtime.IFNAME in names_in(place)
        still = self._still()
        before = self._state(still) if not free else None
        answer = self._call("ADD", network, name, place.path, trouble)
        self.used.add(pci)
        self.owed[name] = self.owed.get(name, network)
        if answer.ok:
            assert free, f"VF {pci} has two owners: {answer}"
            self._is_clean_in_pod(pci, place, network)
            self.given[name] = Tenancy(pci, network, answer)
            self.stuck.discard((pci, name))  # it was taken back first, as the look into the pod has just shown
        elif not answer.died:
            excused = trouble[0] or taken or not free
            assert excused, f"the next tenant's ADD of a VF that is at home failed: {answer}"
            assert before is None or before == self._state(still), f"a refused ADD has changed something: {answer}"

    def _begin(self, which: int) -> None:
        """Begin, in place of a step that is not possible yet."""
        self.add(which % 3, which % 2, "plain", NONE)

    @stateful.rule(who=WHO, its=strategies.booleans(), trouble=TROUBLES)
    def delete(self, who: int, its: bool, trouble: tuple[int, str]) -> None:
        if not self.owed:
            self._begin(who)
            return
        name = sorted(self.owed)[who % len(self.owed)]
        place = self.places.get(name)
        mine = [pci for pci, record in self.here.records().items() if record.owner.container_id == name]
        at_hand = all(self._at_hand(pci, name) for pci in mine)
        answer = self._call("DEL", self.owed[name], name, place.path if place and its else "", trouble)
        self._ended(name, mine, answer, excused=bool(trouble[0]) or not at_hand)

    @stateful.rule(which=strategies.integers(0, 7), trouble=TROUBLES)
    def collect(self, which: int, trouble: tuple[int, str]) -> None:
        """Call GC: of the pods that exist, the runtime knows these."""
        known = [name for number, name in enumerate(self.pods) if which >> number & 1]
        valid = [{"containerID": name, "ifname": runtime.IFNAME} for name in known]
        over = {pci: record.owner.container_id for pci, record in self.here.records().items()}
        over = {pci: name for pci, name in over.items() if name not in known}
        at_hand = all(self._at_hand(pci, name) for pci, name in over.items())
        network = _network(self.stage.vfs[0], "plain") | {"cni.dev/valid-attachments": valid}
        answer = self._call("GC", network, "", "", trouble)
        assert answer.ok or trouble[0] or not at_hand, f"GC: {answer}"
        for pci, name in over.items():
            gone = pci not in self.here.records()
            kept_back = trouble[0] and self._is_kept_back(pci)
            assert gone or kept_back or not answer.ok or not self._at_hand(pci, name), f"GC has left {pci} to {name}"
            if gone or answer.died or self.stage.find()[pci].where is None:
                self.given.pop(name, None)
            if not gone and not answer.died:
                self.stuck.add((pci, name))

    @stateful.rule(who=WHO)
    def check(self, who: int) -> None:
        if not self.given:
            self._begin(who)
            return
        name = sorted(self.given)[who % len(self.given)]
        tenancy, still = self.given[name], self._still()
        before = self._state(still)
        network = {**tenancy.network, "prevResult": tenancy.result}
        answer = self._call("CHECK", network, name, self.places[name].path)
        assert answer.ok or (tenancy.touched and not answer.died), f"CHECK: {answer}"
        assert before == self._state(still), "CHECK has changed something"

    # Pods.

    @stateful.rule(who=WHO, act=strategies.sampled_from(acts.ON), chosen=strategies.integers(0, 11))
    def act(self, who: int, act: str, chosen: int) -> None:
        """Let the pod act on its VF, wherever in its namespaces that is."""
        if not self.given:
            self._begin(who)
            return
        tenancy = self.given[sorted(self.given)[who % len(self.given)]]
        found = self.stage.find()[tenancy.pci]
        assert found.where is not None, f"{tenancy.pci} was given and is in the host"
        scene = acts.Scene(self.stage, found.where, tenancy.pci, found.link.index, chosen)
        tenancy.touched = acts.play(act, scene) or tenancy.touched
        self.stage.settle()

    @stateful.rule(who=WHO, kept=strategies.sampled_from(acts.KEPT_ON))
    def pod_ends(self, who: int, kept: bool) -> None:
        """End its namespace, or remove its path and keep a descriptor. Its DEL may come later, or never."""
        if not self.places:
            self._begin(who)
            return
        name = sorted(self.places)[who % len(self.places)]
        place = self.places.pop(name)
        self.given.pop(name, None)
        self.pods[self.pods.index(name)] = f"p{self.born}"
        self.born += 1
        if kept:
            place.forget_path()
        else:
            self.stage.end(place)

    @stateful.rule(which=WHO)
    def descriptor_is_closed(self, which: int) -> None:
        """Close the last reference of a namespace: what is in there returns to the host."""
        if not self._kept():
            self._begin(which)
            return
        place = self._kept()[which % len(self._kept())]
        there = {pci for pci, found in self.stage.find().items() if found.where is place}
        self.given = {name: tenancy for name, tenancy in self.given.items() if tenancy.pci not in there}
        self.stage.end(place)

    def _kept(self) -> list[places.Place]:
        return [place for place in self.stage.places if not place.path]

    @stateful.rule(vf=VFS)
    def programs_end(self, vf: int) -> None:
        """End the holder of a bpf link on the VF."""
        self.stage.let_go(self.stage.vfs[vf])

    # Daemons.

    @stateful.rule(which=strategies.integers(0, 1), kill=strategies.booleans())
    def daemon_ends(self, which: int, kill: bool) -> None:
        """End a daemon and start another, unless one has waited for this: it repairs what it finds.

        If the one that ends has only waited, the other goes on, and repairs in its own time.
        """
        daemon = self.nursery.daemons[which % len(self.nursery.daemons)]
        serves = daemon.serves
        status = self.nursery.end(daemon, signal.SIGKILL if kill else signal.SIGTERM)
        assert status == (-signal.SIGKILL if kill else 0), daemon.log.read_text()
        if serves or not self.nursery.daemons:
            self._serve()

    def _serve(self) -> None:
        for daemon in [each for each in self.nursery.daemons if not each.alive]:
            self.nursery.reap(daemon)
        if not self.nursery.daemons:
            self.here.start()
        self.here.settled()
        dirty = self.here.left_over()
        assert not dirty, f"repair has left {dirty}: {[each.log.read_text() for each in self.nursery.daemons]}"

    def _call(
        self, command: str, network: dict[str, object], name: str, path: str, trouble: tuple[int, str] = NONE
    ) -> daemons.Answer:
        """Call, with the event at some place of the daemon's work; afterwards there is a daemon again."""
        at, what = trouble
        ending: list[int] = []

        def deed(pid: int) -> bytes:
            if what == "refusal":
                return nursery.REFUSE
            if what == "second":
                self.here.second()
                return nursery.GO_ON
            ending.append(pid)
            daemon = next(each for each in self.nursery.daemons if each.pid == pid)
            if what == "kill":
                self.nursery.end(daemon, signal.SIGKILL)
                return b""
            os.kill(pid, signal.SIGTERM)
            return nursery.GO_ON

        answer = self.here.call(command, network, name, path, daemons.Interruption(at, deed))
        for daemon in [each for each in self.nursery.daemons if each.pid in ending]:
            assert self.nursery.reap(daemon) == 0, daemon.log.read_text()
        assert not answer.died or ending, "a daemon has not answered"
        if ending:
            self._serve()
        return answer

    # What holds.

    @stateful.invariant()
    def _sound(self) -> None:
        assert all(each.alive for each in self.nursery.daemons), [each.log.read_text() for each in self.nursery.daemons]
        strangers = [each.name for each in self.stage.strangers()]
        assert not strangers, f"links that do not belong into the host: {strangers}"
        records, free = self.here.records(), []
        for pci, found in self.stage.find().items():
            record = records.get(pci)
            if found.where is None and record is None:
                self._is_free(pci, found)
                free.append(pci)
            elif found.where is None:
                assert not self._is_offered(pci), f"{pci} is at home, not free, and offered: {record}"
            else:
                assert record, f"{pci} is in {found.where} and nobody knows"
                is_stuck = (pci, record.owner.container_id) in self.stuck
                offered = is_stuck and acts.is_on("stuck") and self._is_offered(pci)
                assert not offered, f"{pci} cannot be taken back and is offered: {record}"
        health = self.here.health()
        assert not [each for each in free if health[each]], f"{free} are free and not offered: {health}"
        for name, tenancy in self.given.items():
            self._is_held(name, tenancy, records)

    def _is_offered(self, pci: devices.PciAddress) -> bool:
        """Report whether the device plugin offers it, asked repeatedly: a daemon may be moving the VF meanwhile."""
        for _ in range(20):
            if self.here.health()[pci] or pci not in self.here.records():
                return False
            time.sleep(0.01)
        return True

    def _is_free(self, pci: devices.PciAddress, found: places.Found) -> None:
        self.stuck = {each for each in self.stuck if each[0] != pci}
        assert not (changes := places.changes(self.stage, pci, found)), f"{pci} is free and not clean: {changes}"
        assert self._on_pf(pci) == _on_pf(settings.BASELINE)

    def _is_held(self, name: str, tenancy: Tenancy, records: dict[devices.PciAddress, ledger.Record]) -> None:
        record = records.get(tenancy.pci)
        assert record, f"{name} has {tenancy.pci} and no record"
        assert record.owner.container_id == name
        assert self.stage.find()[tenancy.pci].where is not None, f"{name} has lost {tenancy.pci}"
        found, wanted = self.stage.vf_settings(tenancy.pci), tenancy.network
        assert (found.vlan, found.qos, found.trust, found.spoofchk) == (
            wanted.get("vlan", 0), wanted.get("vlanQoS", 0), wanted.get("trust") == "on", True,
        )  # fmt: skip

    def _is_clean_in_pod(self, pci: devices.PciAddress, place: places.Place, network: dict[str, object]) -> None:
        """Check that the new tenant finds the VF as one that nobody had before, except for what was asked for."""
        found = self.stage.find()[pci]
        assert found.where is place
        assert found.link.name == runtime.IFNAME
        now = dumps.whole(place.handle, found.link.index)
        asked = frozenset({"link address", "link mtu"})
        differing = dumps.differences(self.first[pci], now, but=self.stage.restless | asked)
        assert not differing, f"{pci} brings into the pod: {differing}"
        mac = str(network.get("mac", bytes.fromhex(self.first[pci]["link address"]).hex(":")))
        assert bytes.fromhex(now["link address"]).hex(":") == mac
        assert int.from_bytes(bytes.fromhex(now["link mtu"]), "little") == network.get("mtu", 1500)

    def _on_pf(self, pci: devices.PciAddress) -> tuple[object, ...]:
        return _on_pf(self.stage.vf_settings(pci))

    def _still(self) -> frozenset[devices.PciAddress]:
        """The VFs that no daemon may be restoring at this moment: one that is at home and has an owner, it may."""
        records, found = self.here.records(), self.stage.find()
        return frozenset(pci for pci in self.stage.vfs if pci not in records or found[pci].where is not None)

    def _state(self, still: frozenset[devices.PciAddress]) -> object:
        """All of these VFs that a call that is refused, or only looks, leaves as it is."""
        found = {pci: here for pci, here in self.stage.find().items() if pci in still}
        whole = {
            pci: dumps.whole(here.where.handle if here.where else self.stage.host, here.link.index)
            for pci, here in found.items()
        }
        places = {pci: (here.where and here.where.name, here.link.name) for pci, here in found.items()}
        records = {pci: record for pci, record in self.here.records().items() if pci in still}
        return whole, places, {pci: self._on_pf(pci) for pci in found}, records

    def _at_hand(self, pci: devices.PciAddress, name: str) -> bool:
        """Report whether the VF is where a DEL of this pod can find it."""
        where = self.stage.find()[pci].where
        return where is None or (where is self.places.get(name) and where.path != "")

    def _is_kept_back(self, pci: devices.PciAddress) -> bool:
        """Report whether the VF is in the host and kept from others until a daemon has cleaned it."""
        record, found = self.here.records().get(pci), self.stage.find().get(pci)
        return record is not None and record.problem != "" and (found is None or found.where is None)

    def _ended(self, name: str, mine: list[devices.PciAddress], answer: daemons.Answer, *, excused: bool) -> None:
        assert answer.ok or excused, f"DEL: {answer}"
        left = [pci for pci in mine if pci in self.here.records()]
        if answer.ok:
            kept = excused and all(map(self._is_kept_back, left))
            assert not left or kept, f"a DEL has left a record: {left}"
            del self.owed[name]
        if not answer.died:
            self.stuck.update((pci, name) for pci in left)
        if not left or answer.died or self.stage.find()[left[0]].where is None:
            self.given.pop(name, None)

    def _place(self, name: str) -> places.Place:
        if name not in self.places:
            self.places[name] = self.stage.place()
        return self.places[name]

    def teardown(self) -> None:
        """End all pods with their DELs, and give each VF that was in use another tenant."""
        if not hasattr(self, "here"):
            return
        try:
            if sys.exc_info()[0] is None:
                self._everybody_ends()
        finally:
            self.here.close()

    def _everybody_ends(self) -> None:
        for pci in self.stage.vfs:
            self.stage.let_go(pci)
        for place in list(self.stage.places):
            self.stage.end(place)
        self.given.clear()
        self.places.clear()
        for name, network in sorted(self.owed.items()):
            answer = self._call("DEL", network, name, "")
            assert answer.ok, f"the last DEL: {answer}"
        self.daemon_ends(0, kill=True)
        self.stuck.clear()
        self._sound()
        assert self.here.emptied(), self.here.records()
        for pci in sorted(self.used):
            self._another_tenant(pci)

    def _another_tenant(self, pci: devices.PciAddress) -> None:
        place, network, name = self.stage.place(), _network(pci, "plain"), f"p{self.born}"
        answer = self._call("ADD", network, name, place.path)
        assert answer.ok, f"the next tenant's ADD: {answer}"
        self._is_clean_in_pod(pci, place, network)
        answer = self._call("DEL", network, name, place.path)
        assert answer.ok, f"the next tenant's DEL: {answer}"
        self._sound()


def _on_pf(found: settings.VfSettings) -> tuple[object, ...]:
    """Return what the PF shows, without the MAC, since a driver may be told the VF's own."""
    return (found.vlan, found.qos, found.proto, found.spoofchk, found.trust, found.link_state, found.max_tx_rate)


def names_in(place: places.Place) -> set[str]:
    found = requests.links(place.handle)
    return {each.name for each in found} | {name for each in found for name in each.altnames}


def run(world: World, wanted: hypothesis.settings, seed: int = 0) -> None:
    """Run as many schedules as the settings ask for; another seed makes other schedules."""

    @hypothesis.seed(seed)
    class InThisWorld(Adversary):
        def __init__(self) -> None:
            super().__init__(world)

    stateful.run_state_machine_as_test(InThisWorld, settings=wanted)
