"""F18: NetworkManager and systemd-networkd take every VF that they see, and none on a node that has our files."""

import contextlib
import pathlib
import re
import shlex
from collections.abc import Callable

import pytest

from sriov import devices
from sriovctl import paths
from sriovctl.checks.findings import Kind
from sriovctl.commands import doctor
from sriovctl.node import facts
from tests.examples import table
from tests.kernel import namespaces
from tests.lab import cnis, igb
from tests.lab.managers import hosts, networkd, networkmanager

Manager = networkmanager.NetworkManager | networkd.Networkd
Running = Callable[[hosts.Host], contextlib.AbstractContextManager[Manager]]
SECONDS = 60
MANAGERS = pytest.mark.parametrize(
    ("running", "kind"),
    [(networkmanager.running, Kind.NETWORK_MANAGER), (networkd.running, Kind.NETWORKD)],
    ids=["NetworkManager", "networkd"],
)


def taken(manager: Manager) -> set[devices.PciAddress]:
    """The PFs and VFs at home that it manages and has brought up."""
    states, there = manager.states(), [*hosts.PFS, *hosts.vfs()]
    names = zip(there, hosts.names(there), strict=True)
    return {pci for pci, name in names if states.get(name, hosts.UNMANAGED) != hosts.UNMANAGED} & hosts.up()


def takes(manager: Manager, wanted: set[devices.PciAddress]) -> bool:
    return namespaces.until(lambda: taken(manager) == wanted, SECONDS)


def assert_left_alone(manager: Manager, vfs: list[devices.PciAddress]) -> None:
    """Known to it, and nothing more."""
    states = manager.states()
    assert {name: states.get(name) for name in hosts.names(vfs)} == dict.fromkeys(hosts.names(vfs), hosts.UNMANAGED)
    assert (hosts.up() & {*vfs}, hosts.with_addresses() & {*vfs}) == (set(), set())


def found(kind: Kind) -> str:
    """What doctor finds of this kind: subjects and evidence."""
    findings = [each for each in doctor.examine(facts.collect(paths.Places())) if each.kind is kind]
    return " ".join(f"{each.subject} {each.evidence}" for each in findings)


def named(told: str, vfs: list[devices.PciAddress]) -> set[devices.PciAddress]:
    return {pci for pci, name in zip(vfs, hosts.names(vfs), strict=True) if re.search(rf"\b{name}\b", told)}


@MANAGERS
def test_f18_vfs_are_taken_and_let_go_when_our_files_come(host: hosts.Host, running: Running, kind: Kind) -> None:
    """A manager has to be told of VFs that it has already. NetworkManager of each alone, so here of some."""
    told = table.run_by(__file__, "test_f18_vfs_are_taken_and_let_go_when_our_files_come")
    typed = {program: arguments for program, *arguments in (shlex.split(each.command) for each in told)}
    vfs = hosts.vfs()
    freed = vfs[:3]
    with running(host) as manager:
        assert takes(manager, {*hosts.PFS, *vfs}), manager.states()
        assert named(found(kind), vfs) == {*vfs}
        with host.our_files():
            manager.let_go(typed, hosts.names(freed))
            assert namespaces.until(lambda: not taken(manager) & {*freed}, SECONDS), manager.states()
            assert taken(manager) >= {*hosts.PFS}
            assert named(found(kind), freed) == set()


@MANAGERS
def test_f18_vfs_are_left_alone_from_the_start_and_whenever_they_come_home(
    host: hosts.Host, running: Running, kind: Kind, tmp_path: pathlib.Path
) -> None:
    """By DEL, and by the end of the pod's namespace. An excepted one comes home last: the others were seen then."""
    gone, lost, excepted = (igb.vf(index).pci for index in (3, 4, 5))
    names = hosts.names([gone, lost, excepted])
    with host.our_files(), running(host) as manager:
        assert takes(manager, {*hosts.PFS}), manager.states()
        assert_left_alone(manager, hosts.vfs())
        assert found(kind) == ""
        with host.excepted(excepted), cnis.opened(tmp_path) as cni:
            with namespaces.made("lost") as pod:
                cni.add(lost, pod, "lost", vlan=100)
            cni.delete(lost, None, "lost")
            with namespaces.made("pod") as pod:
                cni.add(gone, pod, "gone", vlan=100)
                with host.udev.late():
                    cni.delete(gone, pod, "gone")
                cni.add(excepted, pod, "excepted", vlan=100)
                cni.delete(excepted, pod, "excepted")
            assert takes(manager, {*hosts.PFS, excepted}), manager.states()
            assert hosts.names([gone, lost, excepted]) == names
            assert_left_alone(manager, [pci for pci in hosts.vfs() if pci != excepted])
