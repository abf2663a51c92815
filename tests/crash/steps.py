"""Steps of the runtime and the node around a death of the daemon, which a test puts in a row."""

from collections.abc import Callable

from sriov import settings
from tests.crash import invariants, mortal

MAC = "02:00:00:00:cc:01"
KEYS = {"vlan": 100, "vlanQoS": 3, "mac": MAC, "spoofchk": "off", "trust": "on", "max_tx_rate": 200}
WANTED = settings.VfSettings(mac=MAC, vlan=100, qos=3, spoofchk=False, trust=True, max_tx_rate=200)
CONTAINERS = ("c1", "c2", "c3", "c4", "c5")

Step = Callable[[mortal.MortalNode], None]
Call = Callable[[mortal.MortalNode], mortal.Answer]


def adding(container: str) -> Call:
    return lambda here: here.add(container, KEYS)


def deleting(container: str, netns_name: str | None = None) -> Call:
    return lambda here: here.delete(container, netns_name=netns_name)


def repairing(here: mortal.MortalNode) -> mortal.Answer:
    return here.repair()


def repair(here: mortal.MortalNode) -> None:
    """Every VF that is at home is nobody's afterwards."""
    here.repair()
    for vf in here.records():
        assert here.machine.netdevs(vf)[0].where != here.machine.home.identity, f"{vf} is not repaired"


def add(container: str) -> Step:
    """An ADD that must succeed, and give what was asked for."""

    def step(here: mortal.MortalNode) -> None:
        answer = here.add(container, KEYS)
        assert answer.ok, f"I4: {answer}"
        invariants.assert_given(here, container, here.vfs[0], WANTED)

    return step


def delete(container: str, netns_name: str | None = None) -> Step:
    """A DEL that must succeed (I3) and leave nothing of the container, nor touch another's VF."""

    def step(here: mortal.MortalNode) -> None:
        others = [each for each in here.records().values() if each.owner.container_id != container]
        answer = here.delete(container, netns_name=netns_name)
        assert answer.ok, f"I3: {answer}"
        assert list(here.records().values()) == others
        assert (container, mortal.IFNAME) not in here.ipam.held(), "I5"

    return step


def delete_elsewhere(container: str, netns_name: str) -> Step:
    """A DEL with a namespace that is not the container's: may be told to come back, while the real one lives."""

    def step(here: mortal.MortalNode) -> None:
        assert here.delete(container, netns_name=netns_name).code in (0, 11)

    return step


def end(container: str) -> Step:
    """The pod's last process is gone, and its namespace with it."""

    def step(here: mortal.MortalNode) -> None:
        if container in here.machine.namespaces().values():
            here.machine.destroy(container)

    return step


def take(here: mortal.MortalNode, steps: tuple[Step, ...]) -> None:
    """One after the other; I1, I2 and I6 hold in between."""
    for step in steps:
        step(here)
        invariants.assert_sound(here)
