"""A node to which anything happens in any order: calls, deaths, hardware changes, people. A RuleBasedStateMachine.

After each rule the node is sound, and every pod that was given a VF and whom nobody has disturbed has it exactly as it
was asked for. At the end everybody has a DEL, and nothing is left of anybody. F6, F14, F26, F27, C36, C37, C49, C53.
"""

import contextlib
import dataclasses
import errno
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import stateful, strategies

from sriov import settings
from tests.conftest import SHM
from tests.crash import invariants, mortal
from tests.fakes import world
from tests.fuzz import profiles

VFS = strategies.integers(0, 1)
PODS = strategies.integers(0, 2)
WANTED = {
    "nothing": settings.BASELINE,
    "vlan, qos, trust": settings.VfSettings(vlan=100, qos=3, trust=True),
    "mac, spoofchk, rate": settings.VfSettings(mac="02:00:00:00:cc:01", spoofchk=False, max_tx_rate=200),
    "mac, vlan": settings.VfSettings(mac="02:00:00:00:cc:02", vlan=200),
}
PROFILES = {"igb": world.IGB, "permissive": world.PERMISSIVE, "stubborn": world.STUBBORN}
ORDERS = {
    "last": mortal.IPAM_LAST,
    "first": mortal.IPAM_FIRST,
    "around": mortal.IPAM_AROUND,
    "on the link": mortal.IPAM_ON_THE_LINK,
}
LEFT_OVER = settings.VfSettings(mac="02:00:00:00:dd:01", vlan=666, spoofchk=False, trust=True, max_tx_rate=1)


def keys_of(wanted: settings.VfSettings) -> mortal.Keys:
    """As a network configuration says it."""
    mac = {} if wanted.mac == settings.NO_MAC else {"mac": wanted.mac}
    switches = {name: "on" if getattr(wanted, name) else "off" for name in ("spoofchk", "trust")}
    return mac | switches | {"vlan": wanted.vlan, "vlanQoS": wanted.qos, "max_tx_rate": wanted.max_tx_rate}


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """A pod's VF that nobody but us may have touched. `result` is what ADD answered, perhaps after a refusal."""

    vf: int
    wanted: settings.VfSettings
    result: Any
    refused: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """What befalls a call: the daemon dies before its `number`-th effect, or, with an `errno`, the kernel refuses that
    request. 0 is no trouble."""

    number: int = 0
    errno: int = 0


NONE = Trouble()
TROUBLES = strategies.one_of(
    strategies.just(NONE),
    strategies.just(NONE),
    strategies.builds(Trouble, strategies.integers(1, 24)),
    strategies.builds(
        Trouble,
        strategies.integers(1, 18),
        strategies.sampled_from([errno.EIO, errno.EBUSY, errno.ENOMEM, errno.ENODEV]),
    ),
)


class NodeMachine(stateful.RuleBasedStateMachine):
    """`pods` are the living ones; `given` what they have; `owed` who has had an ADD and no successful DEL since."""

    @stateful.initialize(
        profile=strategies.sampled_from(sorted(PROFILES)),
        ipam=strategies.sampled_from(sorted(ORDERS)),
        asked=strategies.sampled_from(sorted(WANTED)),
    )
    def start(self, profile: str, ipam: str, asked: str) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=SHM if SHM.is_dir() else None))
        self.here = mortal.MortalNode(self.folder, PROFILES[profile], ORDERS[ipam])
        self.pods = ["p0", "p1", "p2"]
        for name in self.pods:
            self.here.pod(name)
        self.given: dict[str, Given] = {}
        self.owed: set[str] = set()
        self.unknown: set[int] = set()
        self.born = len(self.pods)
        self.add(0, 0, asked, NONE)

    # The runtime.

    @stateful.rule(pod=PODS, vf=VFS, asked=strategies.sampled_from(sorted(WANTED)), trouble=TROUBLES)
    def add(self, pod: int, vf: int, asked: str, trouble: Trouble) -> None:
        name, wanted = self.pods[pod], WANTED[asked]
        if name in self.owed and (name not in self.given or self.given[name].vf != vf):
            return  # a runtime calls DEL after an ADD that failed, and before another
        free, before = self._is_free(vf), self.here.machine.snapshot()
        with self._befallen_by(trouble):
            answer = self.here.call("ADD", name, vf, name, keys_of(wanted))
        if answer.ok:
            assert free, f"VF {vf} has two owners: {self.given}"
            assert name not in self.given, "C36: a second ADD has succeeded"
            self.given[name] = Given(vf, wanted, answer.document, trouble.errno != 0)
            self.unknown.discard(vf)
        elif not answer.died:
            assert trouble.number or not free or name in self.given, f"I4: {answer}"
            assert not self._holds(name) or name in self.given, f"a failed ADD has left its record: {answer}"
            leased = (name, mortal.IFNAME) in self.here.ipam.held()
            assert not leased or name in self.given, f"I5: a failed ADD has left its address: {answer}"
            assert free or self.here.machine.snapshot() == before, f"C37: a refused ADD has changed something: {answer}"
        self.owed.add(name)

    @stateful.rule(
        who=strategies.integers(0, 9),
        where=strategies.sampled_from(["its", "its", "", "p9", "other"]),
        trouble=TROUBLES,
    )
    def delete(self, who: int, where: str, trouble: Trouble) -> None:
        known = sorted(self.owed | set(self.pods))
        name = known[who % len(known)]
        netns = {"its": name, "other": self.pods[who % 3]}.get(where, where)
        at_hand = netns == name or name not in self.pods or not self._away(name)
        with self._befallen_by(trouble):
            answer = self.here.call("DEL", name, who % 2, netns, {})
        assert answer.ok or trouble.number or (not at_hand and answer.code == 11), f"I3: {answer}"
        if answer.ok:
            assert not self._holds(name), "a DEL has left a record"
            self.owed.discard(name)
        if answer.died or self._holds(name) or answer.ok:
            self.given.pop(name, None)

    @stateful.rule(pod=PODS)
    def check(self, pod: int) -> None:
        name = self.pods[pod]
        if name in self.given:
            given, before = self.given[name], self.here.machine.snapshot()
            keys = {**keys_of(given.wanted), "prevResult": given.result}
            answer = self.here.call("CHECK", name, given.vf, name, keys)
            assert answer.ok, f"C53: {answer}"
            assert self.here.machine.snapshot() == before, "C53: CHECK has changed something"

    @stateful.rule(pod=PODS)
    def pod_ends(self, pod: int) -> None:
        """The namespace is destroyed, its VFs come home. Its DEL may come later, or never."""
        name = self.pods[pod]
        self.here.machine.destroy(name)
        self.given.pop(name, None)
        self.pods[pod] = f"p{self.born}"
        self.born += 1
        self.here.pod(self.pods[pod])

    # The daemon, the hardware, and people.

    @stateful.rule(again=strategies.booleans())
    def daemon_looks_around(self, again: bool) -> None:
        """As at its start: what is at home belongs to nobody."""
        if again:
            self.here.restart()
        self.here.repair()
        assert not any(self._is_free(self.here.vfs.index(vf)) for vf in self.here.records())

    @stateful.rule(what=strategies.sampled_from(["numvfs", "driver", "driver", "name", "settings"]), vf=VFS)
    def something_happens(self, what: str, vf: int) -> None:
        happens = {"numvfs": self._numvfs, "driver": self._driver, "name": self._name, "settings": self._settings}
        happens[what](vf)

    def _numvfs(self, _: int) -> None:
        """Somebody writes 0, or the number again where it is 0."""
        exists = self.here.machine.node.tree.pci(self.here.vfs[0]).exists()
        self.here.machine.set_numvfs(self.here.pf, 0 if exists else len(self.here.vfs))
        self.given.clear()
        self.unknown.clear()

    def _driver(self, vf: int) -> None:
        """It goes, or comes back: with an administered MAC as the netdev's own, if there is one."""
        if not self.here.machine.netdevs(self.here.vfs[vf]):
            self._driver_comes(vf)
        else:
            self.here.machine.unbind(self.here.vfs[vf])
            self._disturbed(vf)

    def _driver_comes(self, vf: int) -> None:
        there = self.here.machine.node.tree.pci(self.here.vfs[vf]).exists()
        if there and not self.here.machine.netdevs(self.here.vfs[vf]):
            self.here.machine.bind(self.here.vfs[vf])

    def _name(self, vf: int) -> None:
        """Somebody renames it in the pod."""
        for each in self.here.machine.netdevs(self.here.vfs[vf]):
            if each.where != self.here.machine.home.identity:
                each.link = msgspec.structs.replace(each.link, name="renamed0")
                self._disturbed(vf)

    def _settings(self, vf: int) -> None:
        """Somebody sets it on the PF, wherever the VF is."""
        for each in self.here.machine.netdevs(self.here.vfs[vf]):
            assert each.slot
            self.here.machine.administer(*each.slot, LEFT_OVER)
            self.unknown.add(vf)
            self._disturbed(vf)

    # What holds.

    @stateful.invariant()
    def _sound(self) -> None:
        invariants.assert_sound(self.here, {self.here.vfs[vf] for vf in self.unknown})
        for name, given in self.given.items():
            vf = self.here.vfs[given.vf]
            invariants.assert_given(self.here, name, vf, given.wanted, refused=given.refused)
        assert {container for container, _ in self.here.ipam.held()} <= self.owed, "I5"

    def teardown(self) -> None:
        """Everybody ends, and everybody's DEL comes."""
        if not hasattr(self, "here"):
            return
        try:
            self._everybody_ends()
        finally:
            self.here.close()
            shutil.rmtree(self.folder)

    def _everybody_ends(self) -> None:
        if not self.here.machine.node.tree.pci(self.here.vfs[0]).exists():
            self._numvfs(0)
        for vf in (0, 1):
            self._driver_comes(vf)
        for name in [*self.pods, *sorted(self.owed - set(self.pods))]:
            assert self.here.delete(name).ok, "I3"
            assert self.here.delete(name, netns_name="").ok, "I3"
        invariants.assert_sound(self.here, {self.here.vfs[vf] for vf in self.unknown})
        assert self.here.records() == {}
        assert self.here.ipam.held() == set(), "I5"

    @contextlib.contextmanager
    def _befallen_by(self, trouble: Trouble) -> Iterator[None]:
        if trouble.errno:
            self.here.machine.fail_at(trouble.number, trouble.errno)
        else:
            self.here.life.die_before(trouble.number)
        yield
        self.here.machine.fail_at(0)
        self.here.life.die_before(0)
        if self.here.life.dead:
            self.here.restart()

    def _is_free(self, vf: int) -> bool:
        found = self.here.machine.netdevs(self.here.vfs[vf])
        return bool(found) and found[0].where == self.here.machine.home.identity

    def _holds(self, name: str) -> bool:
        return any(record.owner.container_id == name for record in self.here.records().values())

    def _away(self, name: str) -> bool:
        """Whether a VF of this container is in some pod."""
        mine = [vf for vf, record in self.here.records().items() if record.owner.container_id == name]
        home = self.here.machine.home.identity
        return any(each.where != home for vf in mine for each in self.here.machine.netdevs(vf))

    def _disturbed(self, vf: int) -> None:
        self.given = {name: given for name, given in self.given.items() if given.vf != vf}


@pytest.mark.parametrize("asked", ["vlan, qos, trust", "mac, vlan"])
@pytest.mark.parametrize("number", range(1, 19))
def test_after_any_refused_request_a_pod_has_all_that_its_network_names_or_no_vf(asked: str, number: int) -> None:
    """The driver takes one setting at a time, and somebody has set the free VF. Defaults are named, too."""
    machine = NodeMachine()
    machine.start("stubborn", "around", "nothing")
    try:
        machine.pod_ends(0)
        machine.daemon_looks_around(again=False)
        machine.something_happens("settings", 0)
        machine.add(0, 0, asked, Trouble(number, errno.EIO))
        machine._sound()
    finally:
        machine.teardown()


TestNodeMachine = NodeMachine.TestCase
TestNodeMachine.settings = profiles.examples(500, 10_000)
