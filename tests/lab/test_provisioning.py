"""Provisioning on real SR-IOV: the guest's sysfs keeps the contract of the one in memory, and igb's VFs are as asked.

What is there again after a reboot is shown by tests/lab/reboots.
"""

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from sriov.linux import sysfs_writes
from sriov.provisioning import apply, document, existing_vf_steps, host, machine, observe, plan, steps
from tests.kernel import namespaces
from tests.lab import cnis, igb
from tests.sriov.provisioning import attributes_contract

PF = igb.PF1
FILE = f"policies:\n- selector: {{pciAddresses: [{PF}]}}\n"
MACS = "  macRange: {first: 02:00:00:00:02:00, last: 02:00:00:00:02:0f}\n"


@contextlib.contextmanager
def emptied() -> Iterator[None]:
    subprocess.run(["modprobe", "vfio-pci"], check=True)
    with igb.emptied(PF):
        yield


class TestSysfs(attributes_contract.Contract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[attributes_contract.Bench]:
        with emptied():
            yield attributes_contract.Bench(sysfs_writes.Sysfs(igb.TREE.root), igb.TREE, PF)


@pytest.fixture
def hands(tmp_path: pathlib.Path) -> Iterator[machine.Machine]:
    with emptied():
        made = host.made(igb.TREE.root, pathlib.Path("/proc"), tmp_path / "run", dict)
        made.node.book.create()
        yield made


def planned(hands: machine.Machine, text: str) -> plan.Plan:
    return plan.make(observe.observe(hands.node), document.parse((FILE + text).encode(), "node.yaml"))


def applied(hands: machine.Machine, text: str) -> None:
    made = planned(hands, text)
    assert made.refusals == ()
    apply.apply(hands, made.steps)
    assert planned(hands, text).steps == ()


def seen(hands: machine.Machine) -> list[tuple[object, ...]]:
    [pf] = [each for each in observe.observe(hands.node).pfs if each.pci == PF]
    return [(vf.binding.driver, vf.address, vf.mtu, vf.shown and (vf.shown.spoofchk, vf.shown.trust)) for vf in pf.vfs]


def test_every_setting_and_vfs_that_change_where_they_are(hands: machine.Machine) -> None:
    applied(hands, "  numVfs: 2\n  mtu: 3000\n  trust: true\n  spoofchk: false\n" + MACS)
    assert seen(hands) == [("igbvf", f"02:00:00:00:02:0{index}", 3000, (False, True)) for index in range(2)]
    birth = hands.node.tree.birth(igb.vf(0, PF).pci)
    applied(hands, "  numVfs: 2\n  trust: false\n" + MACS.replace(":02:0", ":03:0"))
    assert seen(hands) == [("igbvf", f"02:00:00:00:03:0{index}", 3000, (False, False)) for index in range(2)]
    assert hands.node.tree.birth(igb.vf(0, PF).pci) == birth


def test_vfio_pci_and_back_and_one_that_is_open_is_not_touched(hands: machine.Machine) -> None:
    applied(hands, "  numVfs: 2\n  driver: vfio-pci\n" + MACS)
    assert [each[0] for each in seen(hands)] == ["vfio-pci"] * 2
    group = (igb.TREE.pci(igb.vf(1, PF).pci) / "iommu_group").resolve().name
    pathlib.Path("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts").write_text("Y")
    descriptor = os.open(f"/dev/vfio/{group}", os.O_RDWR)
    try:
        [refusal] = planned(hands, "  numVfs: 1\n").refusals
        assert f"#1 by process {os.getpid()}" in refusal
        assert {step.vf for step in planned(hands, "  numVfs: 2\n  driver: default\n").steps} == {0}
    finally:
        os.close(descriptor)
    applied(hands, "  numVfs: 2\n  driver: default\n")
    assert [each[:2] for each in seen(hands)] == [("igbvf", f"02:00:00:00:02:0{index}") for index in range(2)]


def test_a_vf_in_another_namespace_keeps_its_pf_from_shrinking(hands: machine.Machine) -> None:
    applied(hands, "  numVfs: 2\n")
    netdev = igb.TREE.netdev(igb.vf(1, PF).pci)
    assert netdev is not None
    with namespaces.made("pod") as pod:
        subprocess.run(["ip", "link", "set", netdev.name, "netns", pod.name], check=True)
        [refusal] = planned(hands, "  numVfs: 1\n").refusals
        assert "#1 by another network namespace" in refusal
        with pytest.raises(apply.ProvisionError, match="in use by another network namespace"):
            apply.apply(hands, [_removal(hands)])
        assert len(seen(hands)) == 2


def _removal(hands: machine.Machine) -> steps.ProvisioningStep:
    """The step that a plan from before the pod would have begun with."""
    [pf] = [each for each in observe.observe(hands.node).pfs if each.pci == PF]
    return existing_vf_steps.removal(pf)


def test_macs_of_trusted_vfs_stick_each_time(hands: machine.Machine) -> None:
    """igbvf misses igb's answer now and then, most of all at the first time after a boot."""
    for _ in range(5):
        applied(hands, "  numVfs: 3\n  trust: true\n" + MACS)
        assert [each[1] for each in seen(hands)] == [f"02:00:00:00:02:0{index}" for index in range(3)]
        applied(hands, "  numVfs: 0\n")


def test_a_kernel_that_refuses_half_way_leaves_the_old_state(hands: machine.Machine) -> None:
    """igb takes no MTU beyond 9216, and says so after its VFs are gone."""
    applied(hands, "  numVfs: 3\n  trust: true\n" + MACS)
    before = seen(hands)
    with pytest.raises(apply.ProvisionError, match=r"step 2 of .* mtu of .* to 9999: .*everything is as it was"):
        apply.apply(hands, planned(hands, "  numVfs: 5\n  mtu: 9999\n").steps)
    assert seen(hands) == before


def test_what_is_declared_is_what_a_pod_gets_and_what_its_del_leaves(
    hands: machine.Machine, tmp_path: pathlib.Path
) -> None:
    """Address and MTU too, which the CNI finds; after each pod the node is as the file says."""
    text = "  numVfs: 2\n  mtu: 3000\n  trust: true\n  spoofchk: false\n" + MACS
    applied(hands, text)
    vf, at_rest = igb.vf(1, PF).pci, seen(hands)
    with cnis.opened(tmp_path) as cni:
        for keys, spoofchk, trust in (
            ({}, False, True),
            ({"spoofchk": "on"}, True, True),
            ({"trust": "off", "vlan": 100}, False, False),
        ):
            with namespaces.made("pod") as pod:
                answer = cni.add(vf, pod, **keys)
                shown = igb.administered(1, PF)
                assert (shown.spoofchk, shown.trust) == (spoofchk, trust)
                link = cnis.links(pod)["net1"]
                assert (link.address, link.mtu) == ("02:00:00:00:02:01", 3000)
                assert cni.call("CHECK", vf, pod, "c1", **keys, prevResult=answer.document).code == 0
                cni.delete(vf, pod)
            assert (seen(hands), planned(hands, text).steps) == (at_rest, ())
        with namespaces.made("pod") as pod:
            cni.add(vf, pod, spoofchk="on", trust="off")
        assert namespaces.until(lambda: igb.TREE.netdev(vf) is not None)
        cni.delete(vf, None)
        assert (seen(hands), planned(hands, text).steps) == (at_rest, ())
