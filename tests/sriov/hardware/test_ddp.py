"""DDP profiles: who is asked, who has which, and what is said where nobody answers."""

import contextlib
import errno
import json
import logging
import pathlib
from collections.abc import Iterator

import pytest

from sriov import devices, errors
from sriov.hardware import ddp, node_devices
from sriov.pools import config, observer
from tests.deviceplugin import loops
from tests.sriov.pools import facts

PF = devices.pci_address("0000:01:00.0")
OTHER = devices.pci_address("0000:02:00.0")
CATALOG = facts.node(facts.vf(0), facts.vf(1), facts.vf(0, str(OTHER)))


class Devlink:
    """Answers as told, and remembers who was asked; an error is raised."""

    def __init__(self, **answers: str | errors.KernelError | None) -> None:
        self.asked: list[devices.PciAddress] = []
        self._answers = {PF: answers.get("pf"), OTHER: answers.get("other")}

    @contextlib.contextmanager
    def opened(self) -> Iterator[ddp.Ask]:
        yield self._ask

    def _ask(self, pci: devices.PciAddress) -> str | None:
        self.asked.append(pci)
        answer = self._answers.get(pci)
        if isinstance(answer, errors.KernelError):
            raise answer
        return answer


def absent() -> contextlib.AbstractContextManager[ddp.Ask]:
    raise errors.KernelError("look for devlink", errno.ENOENT)


def told(catalog: node_devices.Catalog) -> list[str | None]:
    return [one.ddp_profile for one in catalog.candidates.values()]


def test_a_nic_is_asked_once_for_all_its_vfs() -> None:
    source = Devlink(pf="COMMS", other=None)
    filled, trouble = ddp.fill_in(CATALOG, source.opened)
    assert (told(filled), trouble) == (["COMMS", "COMMS", None], None)
    assert source.asked == [PF, OTHER]


def test_an_accelerator_is_not_asked() -> None:
    source = Devlink()
    ddp.fill_in(facts.node(facts.vf(role=node_devices.Role.ACCELERATOR)), source.opened)
    assert source.asked == []


def test_one_nic_that_fails_does_not_silence_the_others() -> None:
    source = Devlink(pf=errors.KernelError("tell", errno.EIO), other="COMMS")
    filled, trouble = ddp.fill_in(CATALOG, source.opened)
    assert (told(filled), trouble) == ([None, None, "COMMS"], None)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Devlink().opened, "no NIC reports a DDP profile by devlink"),
        (Devlink(pf=errors.KernelError("tell", errno.EPERM, "allow it")).opened, "Operation not permitted"),
        (absent, "look for devlink"),
        (absent, "; try `devlink dev info` where the device plugin runs, or leave ddpProfiles out"),
        (Devlink().opened, "; is the plugin in the host's network namespace?"),
    ],
)
def test_where_nothing_is_told_the_reason_and_the_remedy_are(source: ddp.Source, says: str) -> None:
    filled, trouble = observer.with_profiles(CATALOG, source)
    assert told(filled) == [None] * 3
    assert trouble.startswith("ddpProfiles matches nothing: ")
    assert says in trouble


def test_the_kernel_of_this_machine_gives_a_profile_or_a_reason() -> None:
    """No such NIC is here: a kernel without devlink and one without the instance are both no failure."""
    filled, trouble = observer.with_profiles(facts.node(facts.vf(0, "ffff:ff:1f.0")), ddp.of_this_machine)
    assert told(filled) == [None]
    assert trouble.startswith("ddpProfiles matches nothing: ")


@pytest.mark.parametrize(
    ("selectors", "asks"),
    [
        (None, False),
        ({"vendors": ["8086"]}, False),
        ([{"vendors": ["8086"]}, {"ddpProfiles": ["COMMS"]}], True),
        ({"ddpProfiles": []}, False),
    ],
)
def test_devlink_is_asked_where_the_configuration_wants_it(selectors: object, asks: bool) -> None:
    text = json.dumps({"resourceList": [{"resourceName": "a", "selectors": selectors}]}).encode()
    assert config.parse(text, "config.json", "intel.com").asks_for_profiles == asks


def test_the_log_says_it_once(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = facts.Machine(tmp_path)
    machine.sys.add_pf(PF, facts.PF0, numvfs=2)

    async def looks() -> None:
        where = observer.ObservedNode(machine.sys.tree, machine.proc.root, tmp_path, tmp_path / "run", machine.devlink)
        watching = observer.Observer(where, observer.Patience(), lambda: None)
        await watching.look(0.0)
        assert caplog.messages == []
        for second in (1.0, 2.0):
            await watching.look(second, with_profiles=True)
        assert len(caplog.messages) == 1
        machine.ddp[PF] = "COMMS"
        catalog, _ = await watching.look(3.0, with_profiles=True)
        assert set(told(catalog)) == {"COMMS"}
        machine.ddp.clear()
        await watching.look(4.0, with_profiles=True)
        assert len(caplog.messages) == 2

    with caplog.at_level(logging.WARNING, "deviceplugin"):
        loops.run(looks())
