"""What sriov-network-operator does to a node while both programs run: VFs go and come, drivers change, it reboots.

It drains the node first, but a pod may be left; so a pod has a VF here. The steps are those of its SetSriovNumVfs and
ResetSriovDevice (pkg/host/internal/sriov), of its drivers' bindings, and of whoever creates VFs in its place
(externallyManaged). After each change it ends the device plugin's pod. docs/operator.md has the table.
"""

import asyncio
import contextlib
import itertools
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence

import grpc
import pytest

from sriov import devices
from tests.deviceplugin import loops
from tests.fakes import kubelet as fake
from tests.kernel import namespaces
from tests.lab import cnis, deviceplugins, drivers, igb

PF = igb.PF1
OF_PF = {"rootDevices": [str(PF)]}


@contextlib.contextmanager
def vfs_again() -> Iterator[None]:
    """What other tests find afterwards is seven VFs."""
    try:
        yield
    finally:
        with igb.emptied(PF):
            pass


def numvfs(count: int) -> None:
    (igb.TREE.pci(PF) / "sriov_numvfs").write_text(str(count))


def without_policy() -> None:
    """What becomes of the PF when no policy of the operator is for it any more."""
    subprocess.run(["ip", "link", "set", str(igb.TREE.netdev_name(PF)), "mtu", "1500"], check=True)
    numvfs(0)


async def given(kubelet: fake.Kubelet, cni: cnis.Cni, pod: namespaces.Namespace, container: str) -> devices.PciAddress:
    """A pod starts: Allocate and ADD."""
    envs = await kubelet.allocate(pod.name, deviceplugins.POOL, 1)
    pci = devices.pci_address(envs["PCIDEVICE_INTEL_COM_IGB"])
    await asyncio.to_thread(cni.add, pci, pod, container, vlan=100)
    return pci


async def refused_while(kubelet: fake.Kubelet, change: Callable[[], None], vfs: Sequence[str]) -> list[str]:
    """Ask for each VF again and again. From the first VF's end on no VF may be given; returns the reasons."""
    first = igb.TREE.pci(PF) / "virtfn0"
    changing = asyncio.create_task(asyncio.to_thread(change))
    reasons = []
    for vf in itertools.cycle(vfs):
        if changing.done():
            break
        going = not os.path.lexists(first)
        try:
            await kubelet.request(deviceplugins.POOL, [vf])
        except grpc.aio.AioRpcError as error:
            reasons.append(str(error.details()))
        else:
            assert not going, f"{vf} was given while the VFs of {PF} went"
    await changing
    return reasons


def test_vfs_go_and_come_while_a_pod_has_one(tmp_path: pathlib.Path) -> None:
    """Without a drain, or by another program's hand: nothing is given that goes, and the pod's end takes nothing."""

    async def body(kubelet: fake.Kubelet) -> None:
        with cnis.opened(tmp_path) as cni, namespaces.made("a") as a, namespaces.made("b") as b:
            held = await given(kubelet, cni, a, "c1")
            free = [each for each in kubelet.resources[deviceplugins.POOL] if each != held]
            reasons = await refused_while(kubelet, without_policy, free)
            print(len(reasons), *sorted(set(reasons)), sep="\n")
            assert reasons
            assert await deviceplugins.listed(kubelet, "removed", 0) == {}
            assert set(await asyncio.to_thread(cnis.links, a)) == {"lo"}
            await asyncio.to_thread(numvfs, 2)
            await deviceplugins.followed(kubelet, "made", 2)
            kubelet.free(a.name)
            assert await given(kubelet, cni, b, "c2") == held, "the same address, and another VF"
            for pod in (a, None):
                await asyncio.to_thread(cni.delete, held, pod, "c1")
            assert "net1" in await asyncio.to_thread(cnis.links, b)
            await asyncio.to_thread(cni.delete, held, b, "c2")
            cni.assert_nothing_is_held()
            assert (igb.TREE.pci(PF) / "sriov_numvfs").read_text() == "2\n", "nobody here writes it"

    with vfs_again():
        deviceplugins.on_node(tmp_path, body, OF_PF)


def test_a_driver_changes_and_the_plugin_is_ended_and_started_while_a_pod_has_a_vf(tmp_path: pathlib.Path) -> None:
    """SIGTERM, another config.json, and a new process. What was rebound is not given as what it was."""
    rebound = igb.vf(6, PF).pci

    async def whole() -> None:
        kubelet = fake.Kubelet(tmp_path)
        await kubelet.start()
        try:
            with cnis.opened(tmp_path) as cni, namespaces.made("a") as a, namespaces.made("b") as b:
                async with deviceplugins.plugin(tmp_path, kubelet, {**OF_PF, "drivers": ["igbvf"]}, 7) as ended:
                    held = await given(kubelet, cni, a, "c1")
                    await asyncio.to_thread(drivers.choose, rebound, "vfio-pci")
                    with pytest.raises(grpc.aio.AioRpcError, match=r"no driver|vfio-pci in the place|has no device"):
                        await kubelet.request(deviceplugins.POOL, [rebound])
                    await kubelet.wait_until(
                        lambda: rebound not in kubelet.resources[deviceplugins.POOL], deviceplugins.FOLLOW
                    )
                assert ended.returncode == 0
                assert "net1" in await asyncio.to_thread(cnis.links, a)
                async with deviceplugins.plugin(tmp_path, kubelet, OF_PF, 7):
                    await asyncio.to_thread(drivers.choose, rebound, "")
                    other = await given(kubelet, cni, b, "c2")
                    assert other not in {held, rebound}
                    await asyncio.to_thread(cni.delete, held, a, "c1")
                    await asyncio.to_thread(cni.delete, other, b, "c2")
                    cni.assert_nothing_is_held()
        finally:
            await kubelet.stop()

    subprocess.run(["modprobe", "vfio-pci"], check=True)
    try:
        loops.run(whole(), timeout=400)
    finally:
        drivers.choose(rebound, "")


def test_a_node_reboots_and_its_pods_come_back_before_their_former_selves_are_ended(tmp_path: pathlib.Path) -> None:
    """What is on tmpfs is gone, and the VFs are new ones; IPAM's files are those from before."""
    vf = igb.vf(2, PF).pci
    with cnis.opened(tmp_path) as cni, namespaces.made("before") as pod:
        cni.add(vf, pod, "c1", vlan=100)
    shutil.rmtree(tmp_path / "run")
    with igb.emptied(PF):
        pass
    with cnis.opened(tmp_path) as cni, namespaces.made("after") as pod:
        cni.add(vf, pod, "c2", vlan=101)
        cni.delete(vf, None, "c1")
        assert igb.administered(2, PF).vlan == 101
        assert "net1" in cnis.links(pod)
        cni.delete(vf, pod, "c2")
        cni.assert_nothing_is_held()
