"""One resource's registration against the stand-in kubelet, through everything that ends one."""

import asyncio
import contextlib
import os
import pathlib
import random
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

import hypothesis
import pytest
from hypothesis import strategies

from deviceplugin import device_files, registration, session
from sriov.daemon import folder_watch
from sriov.kubelet import names
from sriov.pools import assignment
from tests.deviceplugin import loops
from tests.fakes import kubelet as fake
from tests.sriov.pools import facts

POOL = facts.pool(facts.device(0), facts.device(1))
RESOURCE = POOL.resource
ENDPOINT = "intel.com_a.sock"


class Bench:
    """A stand-in kubelet in a folder, and registrations with it."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.kubelet = fake.Kubelet(root)
        self.refused = asyncio.Event()

    @property
    def own(self) -> pathlib.Path:
        return self.kubelet.folder / ENDPOINT

    def registration(self, pool: assignment.Pool = POOL, **timings: float) -> session.Registration:
        registrar = registration.Direct(self.kubelet.folder)
        giver = device_files.Handout(facts.NOWHERE)
        return session.Registration(pool, registrar, giver, self.refused.set, session.Timings(**timings))

    @contextlib.asynccontextmanager
    async def registered(self, **timings: float) -> AsyncIterator[session.Registration]:
        """The kubelet runs and knows us."""
        await self.kubelet.start()
        registration = self.registration(POOL, **timings)
        poll = timings.get("poll", 1.0)
        watching = folder_watch.changes(self.kubelet.folder, registration.nudge, poll, poll)
        async with loops.running(watching), loops.running(registration.run()):
            await self.kubelet.wait_for(RESOURCE, 2)
            yield registration

    async def registered_again(self, registration: session.Registration, before: int, timeout: float = 10.0) -> None:
        """There has been a registration since, and it is the only one."""
        async with asyncio.timeout(timeout):
            await self.kubelet.wait_until(lambda: len(self.kubelet.registrations) > before, timeout)
            await loops.until(lambda: registration.servicer.streams == self.kubelet.streams == 1, timeout)
            await loops.until(lambda: sorted(os.listdir(self.kubelet.folder)) == [ENDPOINT, "kubelet.sock"], timeout)
            await self.kubelet.wait_for(RESOURCE, 2, timeout)
        envs = await self.kubelet.request(RESOURCE, [POOL.devices[0].id])
        assert envs["PCIDEVICE_INTEL_COM_A"] == POOL.devices[0].id


def on_bench(root: pathlib.Path, body: Callable[[Bench], Coroutine[object, object, None]]) -> None:
    async def whole() -> None:
        bench = Bench(root)
        try:
            await body(bench)
        finally:
            await bench.kubelet.stop()

    loops.run(whole())


def test_d1_d3_serves_before_it_registers(tmp_path: pathlib.Path) -> None:
    """The kubelet dials back inside Register, under the file name it was given."""

    async def body(bench: Bench) -> None:
        async with bench.registered():
            endpoint = bench.kubelet.endpoints[RESOURCE]
            assert endpoint.dialled < 1
            assert endpoint.name == ENDPOINT
            assert bench.kubelet.registrations == [RESOURCE]

    on_bench(tmp_path, body)


def test_d15_the_socket_is_roots_alone(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        umask = os.umask(0)
        try:
            async with bench.registered():
                assert stat.S_IMODE(bench.own.stat().st_mode) == 0o600
        finally:
            os.umask(umask)

    on_bench(tmp_path, body)


def test_d4_a_long_name_in_a_deep_directory(tmp_path: pathlib.Path) -> None:
    root = tmp_path / ("d" * (names.PATH_MAX - len(str(tmp_path)) - len("/device-plugins/.x-123456789012.sock") - 2))
    pool = facts.pool(facts.device(0), name="n" * 63)

    async def body(bench: Bench) -> None:
        await bench.kubelet.start()
        async with loops.running(bench.registration(pool).run()):
            await bench.kubelet.wait_for(pool.resource, 1)
            (path,) = bench.kubelet.folder.glob("*-*.sock")
            assert len(str(path)) < names.PATH_MAX

    on_bench(root, body)


def test_d6_a_kubelet_that_comes_late_is_met_at_once(tmp_path: pathlib.Path) -> None:
    """Though the next attempt is far away by then."""

    async def body(bench: Bench) -> None:
        registration = bench.registration(backoff=30, backoff_max=30, look=0.1)
        async with loops.running(registration.run()):
            await asyncio.sleep(0.3)
            await bench.kubelet.start()
            await bench.registered_again(registration, 0)

    on_bench(tmp_path, body)


def test_d6_a_refusal_is_tried_again(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(bench: Bench) -> None:
        bench.kubelet.refusals = 3
        async with bench.registered(backoff=0.05):
            assert bench.kubelet.refusals == 0

    on_bench(tmp_path, body)
    told = [record.message for record in caplog.records if "cannot register" in record.message]
    assert len(told) == 1
    assert "intel.com/a cannot register, retrying: the kubelet refuses: UNKNOWN" in told[0]


@hypothesis.given(strategies.integers(0, 10**6), strategies.floats(0, 1, exclude_max=True))
def test_d6_the_pause_grows_to_a_limit(attempt: int, jitter: float) -> None:
    timings = session.Timings()
    pause = session.backoff(attempt, jitter, timings)
    assert timings.backoff / 2 <= pause <= timings.backoff_max
    assert pause <= session.backoff(attempt + 1, jitter, timings)
    assert pause == timings.backoff_max * (1 - jitter / 2) or attempt < 7


def test_d7_register_is_given_more_time_than_the_kubelet_needs() -> None:
    assert session.Timings().register >= 15


def test_d9_the_newer_of_two_plugins_goes_first_and_the_older_takes_over_after_it(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        async with bench.registered(poll=0.1) as older:
            newer = bench.registration(poll=0.1)
            async with loops.running(newer.run()):
                await bench.registered_again(newer, 1)
                await loops.until(lambda: older.servicer.streams == 0)
                await asyncio.sleep(0.5)  # five looks, in which the older one must not fight
                assert len(bench.kubelet.registrations) == 2
                assert newer.servicer.streams == 1
            await bench.registered_again(older, 2)

    on_bench(tmp_path, body)


async def _unlink(bench: Bench) -> None:
    bench.own.unlink()


async def _wipe(bench: Bench) -> None:
    bench.kubelet.wipe()
    await bench.kubelet.restart()


async def _restart(bench: Bench) -> None:
    await bench.kubelet.restart()


async def _restart_without_wiping(bench: Bench) -> None:
    await bench.kubelet.stop()
    await bench.kubelet.start(wipe=False)


async def _replace_the_directory(bench: Bench) -> None:
    await bench.kubelet.stop()
    bench.kubelet.folder.rename(bench.root / "old")
    await bench.kubelet.start()


async def _remove_the_directory(bench: Bench) -> None:
    await bench.kubelet.stop()
    shutil.rmtree(bench.kubelet.folder)
    await asyncio.sleep(0.5)
    await bench.kubelet.start()


async def _break_the_stream(bench: Bench) -> None:
    await bench.kubelet.break_stream(RESOURCE)


@pytest.mark.parametrize(
    "harm",
    [
        _unlink,
        _wipe,
        _restart,
        _restart_without_wiping,
        _replace_the_directory,
        _remove_the_directory,
        _break_the_stream,
    ],
)
def test_d12_d24_registered_again_once(tmp_path: pathlib.Path, harm: Callable[[Bench], Awaitable[None]]) -> None:
    """With the timings of production, and twice, so that the way back is itself watched."""

    async def body(bench: Bench) -> None:
        async with bench.registered() as registration:
            for _ in range(2):
                before = len(bench.kubelet.registrations)
                await harm(bench)
                await bench.registered_again(registration, before)
                shutil.rmtree(bench.root / "old", ignore_errors=True)

    on_bench(tmp_path, body)


def test_d12_a_kubelet_that_never_watches_is_registered_with_again(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        bench.kubelet.unwatched = 2
        async with bench.registered(first_stream=0.3, poll=0.1) as registration:
            await bench.registered_again(registration, 2)
            assert bench.kubelet.registrations == [RESOURCE] * 3

    on_bench(tmp_path, body)


def test_d12_a_second_kubelet_beside_a_living_one_gets_us_alone(tmp_path: pathlib.Path) -> None:
    """The old one's stream is open still, so only its socket's replacement tells."""

    async def body(bench: Bench) -> None:
        async with bench.registered(poll=0.1) as registration:
            second = fake.Kubelet(bench.root)
            await second.start(wipe=False)
            try:
                await second.wait_for(RESOURCE, 2)
                await loops.until(lambda: bench.kubelet.streams == 0)
                assert registration.servicer.streams == second.streams == 1
            finally:
                await second.stop()

    on_bench(tmp_path, body)


def test_d13_a_kubelet_that_takes_its_time_to_come_back(tmp_path: pathlib.Path) -> None:
    """It wipes, waits, makes its socket, and may wipe once more after we have bound ours."""

    async def body(bench: Bench) -> None:
        chance = random.Random(13)  # noqa: S311
        async with bench.registered(backoff_max=0.5, poll=0.1) as registration:
            for _ in range(6):
                before = len(bench.kubelet.registrations)
                await bench.kubelet.stop()
                bench.kubelet.wipe()
                await asyncio.sleep(chance.uniform(0, 0.3))
                await bench.kubelet.start(wipe=chance.random() < 0.5)
                if chance.random() < 0.5:
                    await asyncio.sleep(chance.uniform(0, 0.1))
                    bench.own.unlink(missing_ok=True)
                await bench.registered_again(registration, before)

    on_bench(tmp_path, body)


def test_d14_a_socket_left_behind_is_replaced_and_no_other_is_touched(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.kubelet.start()
        for name in (ENDPOINT, f".{ENDPOINT}", "intel.com_b.sock"):
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(bench.kubelet.folder / name))
        async with loops.running(bench.registration().run()):
            await bench.kubelet.wait_for(RESOURCE, 2)
            assert sorted(os.listdir(bench.kubelet.folder)) == [ENDPOINT, "intel.com_b.sock", "kubelet.sock"]
        assert sorted(os.listdir(bench.kubelet.folder)) == ["intel.com_b.sock", "kubelet.sock"]

    on_bench(tmp_path, body)


def test_d14_a_file_that_is_no_socket_is_left_alone_and_named(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(bench: Bench) -> None:
        await bench.kubelet.start()
        bench.own.write_text("precious")
        async with loops.running(bench.registration(backoff=0.05, look=0.05).run()):
            await asyncio.sleep(0.3)
            assert bench.own.read_text() == "precious"
            assert bench.kubelet.registrations == []
            bench.own.unlink()
            await bench.kubelet.wait_for(RESOURCE, 2)

    on_bench(tmp_path, body)
    assert f"{ENDPOINT} exists and is not a socket; remove it" in caplog.text


def test_d16_stopping_takes_the_socket_along_and_says_no_empty_list(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.kubelet.start()
        async with loops.running(bench.registration().run()):
            await bench.kubelet.wait_for(RESOURCE, 2)
        assert os.listdir(bench.kubelet.folder) == ["kubelet.sock"]
        await bench.kubelet.wait_for(RESOURCE, 0)
        assert [len(said) for said in bench.kubelet.endpoints[RESOURCE].said] == [2, 2]

    on_bench(tmp_path, body)


def test_d24_the_stream_stays_open_and_nothing_is_registered_twice(tmp_path: pathlib.Path) -> None:
    """Through many polls, and longer than the first stream is waited for."""

    async def body(bench: Bench) -> None:
        async with bench.registered(poll=0.05, first_stream=0.3):
            await asyncio.sleep(1)
            assert bench.kubelet.registrations == [RESOURCE]
            assert [len(said) for said in bench.kubelet.endpoints[RESOURCE].said] == [2]

    on_bench(tmp_path, body)


def test_a_change_while_the_kubelet_is_away_is_told_when_it_is_back(tmp_path: pathlib.Path) -> None:
    async def body(bench: Bench) -> None:
        async with bench.registered() as registration:
            await bench.kubelet.stop()
            assert registration.servicer.publish(facts.pool(facts.device(5)))
            await bench.kubelet.start()
            assert list(await bench.kubelet.wait_for(RESOURCE, 1)) == [facts.device(5).id]

    on_bench(tmp_path, body)
