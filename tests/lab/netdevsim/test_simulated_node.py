"""Device plugin and CNI, as they are, on a PF with up to 256 VFs whose settings are the kernel's.

The runtime is played by the shim's own functions, without a process for each call: an emulated CPU would spend its time
on starting Python.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from sriov import devices, settings
from sriov.state import ledger
from tests.deviceplugin import loops
from tests.fakes import kubelet as fake
from tests.fakes import simulated_node
from tests.kernel import namespaces
from tests.sriov_cni import harness

ROOT = pathlib.Path(__file__).parents[3]
POOL, VARIABLE = "intel.com/many", "PCIDEVICE_INTEL_COM_MANY"
PER_POD = 64
# Half a second for each in an emulated guest. The guest runs what the machine has selected.
TAKEN = (16, 256) if {"SRIOV_LONG", "SRIOV_LAB"} & {*os.environ} else (16,)
START = 120.0  # seconds; a process that starts in half a second elsewhere takes ten in the guest
STATES = list(settings.LinkState)


def wanted(index: int) -> settings.VfSettings:
    """Of each VF something else."""
    return settings.VfSettings(
        mac=f"02:00:00:01:00:{index:02x}",
        vlan=index + 1,
        qos=index % 8,
        spoofchk=index % 2 == 0,
        trust=index % 3 == 0,
        link_state=STATES[index % 3],
        min_tx_rate=index % 5,
        max_tx_rate=100 + index,
    )


def network(device: str, asked: settings.VfSettings) -> bytes:
    keys = {
        "mac": asked.mac,
        "vlan": asked.vlan,
        "vlanQoS": asked.qos,
        "spoofchk": "on" if asked.spoofchk else "off",
        "trust": "on" if asked.trust else "off",
        "link_state": asked.link_state.value,
        "min_tx_rate": asked.min_tx_rate,
        "max_tx_rate": asked.max_tx_rate,
    }
    return json.dumps(harness.configuration(device, **keys)).encode()


class Runtime:
    """Pods of PER_POD VFs each, and the CNI's socket."""

    def __init__(self, here: simulated_node.SimulatedNode, socket: pathlib.Path, pods: Sequence[str]) -> None:
        self._here, self._socket, self._pods = here, socket, pods

    def call(self, command: str, device: str) -> float:
        """Seconds until the daemon has hung up."""
        index = self._here.vfs.index(devices.pci_address(device))
        pod = self._pods[index // PER_POD]
        env = {"COMMAND": command, "CONTAINERID": f"c{index}", "NETNS": pod, "IFNAME": f"net{index}", "PATH": "/"}
        began = time.monotonic()
        harness.call_without_a_process(self._socket, network(device, wanted(index)), **env)
        return time.monotonic() - began


@contextlib.contextmanager
def node(folder: pathlib.Path, vfs: int) -> Iterator[tuple[simulated_node.SimulatedNode, Runtime]]:
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(namespaces.made("host"))
        pods = [stack.enter_context(namespaces.made("pod")).path for _ in range(0, vfs, PER_POD)]
        here = stack.enter_context(simulated_node.made(folder, home.handle, vfs))
        socket = folder / "cni.sock"
        stack.enter_context(harness.daemon(here.node, ledger.Ledger(folder / "run"), socket))
        yield here, Runtime(here, socket, pods)


def attach_and_detach(here: simulated_node.SimulatedNode, runtime: Runtime, handed_out: Sequence[str]) -> None:
    """These VFs to their pods, each with what it wants, and home again, clean; of the others none is touched."""
    before, fresh = here.netdevs(), here.settings()
    taken = {here.vfs.index(devices.pci_address(each)) for each in handed_out}
    adds = [runtime.call("ADD", each) for each in handed_out]
    assert here.settings() == tuple(wanted(each) if each in taken else fresh[each] for each in range(len(fresh)))
    assert here.netdevs() == tuple(None if each in taken else before[each] for each in range(len(fresh)))
    dels = [runtime.call("DEL", each) for each in handed_out]
    assert here.settings() == tuple(settings.BASELINE if each in taken else fresh[each] for each in range(len(fresh)))
    assert here.netdevs() == before
    for command, seconds in (("ADD", adds), ("DEL", dels)):
        typical, slowest = (1000 * each for each in (statistics.median(seconds), max(seconds)))
        print(f"{command} on a PF with {len(fresh)} VFs: {typical:.0f} ms, the slowest {slowest:.0f} ms")


@pytest.mark.parametrize("vfs", [4, 64])
def test_vfs_of_a_pf_to_pods_and_back(tmp_path: pathlib.Path, vfs: int) -> None:
    with node(tmp_path, vfs) as (here, runtime):
        attach_and_detach(here, runtime, here.vfs[-4:])


@contextlib.asynccontextmanager
async def advertised(folder: pathlib.Path) -> AsyncIterator[fake.Kubelet]:
    """A kubelet with the device plugin beside it."""
    entry = {"resourceName": "many", "selectors": {"rootDevices": [simulated_node.PF]}}
    (folder / "config.json").write_text(json.dumps({"resourceList": [entry]}))
    places = [f"--sysfs={folder}/sys", f"--kubelet-root-dir={folder}", f"--run-dir={folder}/run"]
    places += [f"--config-file={folder}/config.json", f"--devinfo-dir={folder}/devinfo"]
    kubelet = fake.Kubelet(folder)
    await kubelet.start()
    plugin = await asyncio.create_subprocess_exec(sys.executable, "-m", "deviceplugin", *places, cwd=ROOT)
    try:
        yield kubelet
    finally:
        plugin.terminate()
        await plugin.wait()
        await kubelet.stop()


@pytest.mark.parametrize("taken", TAKEN)
def test_f36_256_vfs_of_one_pf_from_discovery_to_del(tmp_path: pathlib.Path, taken: int) -> None:
    """All are found, advertised and handed out; `taken` of them, evenly spread, go to their pods and back."""

    async def body(here: simulated_node.SimulatedNode, runtime: Runtime) -> None:
        async with advertised(tmp_path) as kubelet:
            assert set(await kubelet.wait_for(POOL, 256, START)) == set(here.vfs)
            assert [len(said) for said in kubelet.endpoints[POOL].said] == [256]
            handed_out: list[str] = []
            for pod in range(256 // PER_POD):
                envs = await kubelet.allocate(f"pod{pod}", POOL, PER_POD)
                handed_out += envs[VARIABLE].split(",")
            assert sorted(handed_out) == sorted(here.vfs)
            await asyncio.to_thread(attach_and_detach, here, runtime, handed_out[:: 256 // taken])

    with node(tmp_path, 256) as (here, runtime):
        loops.run(body(here, runtime), timeout=600)
