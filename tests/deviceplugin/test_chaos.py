"""A thousand things that happen to a device plugin, in any order: it always ends with one registration a resource.

SRIOV_CHAOS is how many (1,000 unless told), on some nodes at once, since most of it is waiting.
SRIOV_CHAOS_SEED repeats the choices of a run.
"""

import asyncio
import contextlib
import gc
import json
import os
import pathlib
import random
import shutil
import socket

import pytest

from deviceplugin import device_files, plugin, registration, session
from sriov.pools import observer
from tests.deviceplugin import loops
from tests.fakes import kubelet as fake
from tests.sriov.pools import facts

ROUNDS = int(os.environ.get("SRIOV_CHAOS", "1000"))
SEED = int(os.environ.get("SRIOV_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
NODES = 5
SETTLE = 20.0  # seconds in which it has to be in order again

BY_PF = {"resourceName": "pf", "selectors": {"pfNames": ["enp1s0#0-1"]}}
REST = {"resourceName": "rest"}
BY_ID = {"resourceName": "id", "selectors": {"devices": ["10ca"]}}
CONFIGS: list[tuple[list[object], dict[str, int]]] = [
    ([BY_PF, REST], {"intel.com/pf": 2, "intel.com/rest": 2}),
    ([REST], {"intel.com/rest": 4}),
    ([REST, BY_PF], {"intel.com/rest": 4, "intel.com/pf": 0}),
    ([BY_PF, BY_ID], {"intel.com/pf": 2, "intel.com/id": 2}),
]


class Chaos:
    """The node, its kubelet, and what it should look like. VFs are four, or none for a moment."""

    def __init__(self, root: pathlib.Path, seed: int) -> None:
        self.root = root
        self.chance = random.Random(seed)  # noqa: S311
        self.machine = facts.Machine(root)
        self.pf = self.machine.sys.add_pf("0000:01:00.0", facts.PF0, numvfs=4)
        self.kubelet = fake.Kubelet(root / "k")
        self.config = root / "etc/config.json"
        self.config.parent.mkdir()
        self.expected: dict[str, int] = {}
        self.configure()
        timings = session.Timings(poll=0.05, backoff=0.01, backoff_max=0.1, first_stream=1.0, stop=0.05)
        self.plugin = plugin.Plugin(
            plugin.Options(
                self.config,
                "intel.com",
                registration.Direct(self.kubelet.folder),
                observer.ObservedNode(self.machine.sys.tree, root / "proc", root / "dev", root / "run"),
                device_files.FilePlaces(root / "devinfo", root / "cdi"),
                timings=timings,
                debounce=0.005,
                resync=0.05,
                farewell=0.2,
            )
        )

    def configure(self) -> None:
        entries, self.expected = self.chance.choice(CONFIGS)
        draft = self.config.with_suffix(".new")
        draft.write_text(json.dumps({"resourceList": entries}))
        draft.rename(self.config)

    async def harm(self) -> None:
        """One thing that happens."""
        blows = (
            self.kubelet.restart,
            self.restart_slowly,
            self.wipe,
            self.unlink_one,
            self.replace_the_folder,
            self.break_a_stream,
            self.reconfigure,
            self.spoil_the_config,
            self.change_the_hardware,
        )
        await self.chance.choice(blows)()

    async def restart_slowly(self) -> None:
        await self.kubelet.stop()
        self.kubelet.wipe()
        await asyncio.sleep(self.chance.uniform(0, 0.05))
        await self.kubelet.start(wipe=self.chance.random() < 0.5)

    async def wipe(self) -> None:
        """The kubelet's own socket too, so it has to start again."""
        self.kubelet.wipe()
        await asyncio.sleep(self.chance.uniform(0, 0.02))
        await self.kubelet.restart()

    async def unlink_one(self) -> None:
        for path in self.kubelet.folder.glob("intel.com_*.sock"):
            path.unlink(missing_ok=True)
            break

    async def replace_the_folder(self) -> None:
        await self.kubelet.stop()
        self.kubelet.folder.rename(self.root / "old")
        await self.kubelet.start()
        shutil.rmtree(self.root / "old")

    async def break_a_stream(self) -> None:
        for name in self.kubelet.endpoints:
            with contextlib.suppress(AssertionError):
                await self.kubelet.break_stream(name)
            break

    async def reconfigure(self) -> None:
        self.configure()

    async def spoil_the_config(self) -> None:
        good = self.config.read_bytes()
        self.config.write_text('{"resourceList": [{"resourceName": "x_"')
        await asyncio.sleep(self.chance.uniform(0, 0.1))
        self.config.write_bytes(good)

    async def change_the_hardware(self) -> None:
        self.machine.sys.set_numvfs(self.pf, 0)
        await asyncio.sleep(self.chance.uniform(0, 0.1))
        self.machine.sys.set_numvfs(self.pf, 4)

    def seen(self) -> tuple[dict[str, int], dict[str, int], list[str]]:
        """Healthy devices of the resources that the kubelet watches, our streams of each, and the files there are."""
        watched = [name for name, endpoint in self.kubelet.endpoints.items() if _lives(endpoint)]
        listed = {name: self.kubelet.resources[name].values() for name in watched}
        return (
            {name: sum(device.healthy for device in each) for name, each in listed.items()},
            {one.name: one.watched for one in self.plugin.status().resources},
            sorted(os.listdir(self.kubelet.folder)),
        )

    def in_order(self) -> bool:
        """Every resource has one living stream and its devices, and nothing else is there."""
        return self.seen() == (
            self.expected,
            dict.fromkeys(self.expected, 1),
            sorted(["kubelet.sock", *(f"{name.replace('/', '_')}.sock" for name in self.expected)]),
        )


def _lives(endpoint: fake.Endpoint) -> bool:
    return endpoint.watching is not None and not endpoint.watching.done()


def held() -> tuple[int, int]:
    """Open descriptors and tasks."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


def resident() -> int:
    """Resident memory in kB."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4


async def ordeal(chaos: Chaos, rounds: int) -> None:
    """Blow after blow, often some at once; after each it has to be in order again."""
    for number in range(rounds):
        for _ in range(chaos.chance.choice((1, 1, 1, 2, 3))):
            await chaos.harm()
        try:
            await loops.until(chaos.in_order, SETTLE)
        except TimeoutError:
            found = f"{chaos.seen()}, not {chaos.expected}, {chaos.plugin.status()}"
            raise AssertionError(f"node {chaos.root.name}, round {number}, seed {SEED}: {found}") from None


@pytest.mark.slow
def test_f44_d13_it_always_converges_and_leaks_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("c")  # a socket's path holds 107 bytes
    print(f"SRIOV_CHAOS_SEED={SEED}")

    async def body() -> None:
        nodes = [Chaos(folder / str(number), SEED + number) for number in range(NODES)]
        async with contextlib.AsyncExitStack() as stack:
            for chaos in nodes:
                await chaos.kubelet.start()
                stack.push_async_callback(chaos.kubelet.stop)
                await stack.enter_async_context(loops.running(chaos.plugin.run()))
            third = ROUNDS // NODES // 3
            await asyncio.gather(*(ordeal(chaos, third) for chaos in nodes))
            before, memory = held(), resident()
            await asyncio.gather(*(ordeal(chaos, ROUNDS // NODES - third) for chaos in nodes))
            slack = 20 * NODES  # a configuration more or less, and calls that are just ending
            limits = [each + slack for each in before]
            await loops.until(lambda: all(now <= most for now, most in zip(held(), limits, strict=True)), SETTLE)
            assert resident() - memory < 8 * 1024, "kB grew in the last two thirds"

    loops.run(body(), timeout=900)


def test_the_kernel_has_no_socket_of_ours_left(tmp_path: pathlib.Path) -> None:
    """What is left of the folder after a stop is the kubelet's alone."""

    async def body() -> None:
        chaos = Chaos(tmp_path, SEED)
        await chaos.kubelet.start()
        async with loops.running(chaos.plugin.run()):
            await loops.until(chaos.in_order, SETTLE)
        assert os.listdir(chaos.kubelet.folder) == ["kubelet.sock"]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(chaos.kubelet.socket))
        await chaos.kubelet.stop()

    loops.run(body())
