"""Repair goes on whatever happens, VFs that nobody can restore keep no other waiting, and both are to be seen."""

import asyncio
import concurrent.futures
import contextlib
import errno
import itertools
import os
import pathlib
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Set

import msgspec
import pytest

from sriov import devices, errors, settings
from sriov.cluster import services
from sriov.daemon import http_address
from sriov.linux import kernel, nsid
from sriov.state import daemon_problems, ledger
from sriov_cni.commands import repair
from sriov_cni.context import attempts, calls
from sriov_cni.monitoring import endpoint
from tests.deviceplugin import loops
from tests.fakes import bench, memory_kernel
from tests.sriov.daemon import clients

HTTP = "http.sock"


class Stubborn(memory_kernel.MemoryKernel):
    """A kernel whose driver never has time for some VFs."""

    busy: frozenset[int] = frozenset()

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> None:
        if vf in self.busy:
            raise errors.KernelError(f"set VF {vf}", errno.EBUSY)
        super().set_vf(pf, vf, wanted, which)


def stubborn(here: bench.Bench, busy: set[int], patience: float) -> calls.Daemon:
    class Driver(Stubborn):
        pass

    Driver.busy = frozenset(busy)

    @contextlib.contextmanager
    def opened() -> Iterator[kernel.Kernel]:
        yield Driver(here.machine, here.machine.home.identity)

    return calls.Daemon(msgspec.structs.replace(here.node, kernel=opened, patience=patience), here.book)


def left_behind(here: bench.Bench) -> None:
    """All seven VFs come home without a DEL."""
    for number in range(7):
        wanted = settings.VfSettings(vlan=100)  # which may not stay
        here.attach(here.request(wanted, number, container_id=f"c{number}", ifname=f"net{number}"))
    here.machine.destroy("pod")


def ended(here: bench.Bench) -> ledger.Record:
    """A VF without a netdev whose pod's namespace is destroyed."""
    here.machine.node.set_driver(here.vfs[0], "vfio-pci")
    here.machine.node.set_netdev(here.vfs[0])
    record = ledger.Record(
        pci=here.vfs[0],
        owner=here.request().owner,
        netns=(0, 0),
        home=None,
        wanted=settings.BASELINE,
        mtu=0,
        mark=nsid.Mark(here.machine.home.identity, 9, 9),
    )
    here.book.write(record)
    return record


def test_one_emfile_does_not_end_repair(tmp_path: pathlib.Path) -> None:
    """A thread's first request opens its netlink socket, and there is no descriptor."""
    here, refused = bench.make(tmp_path), [True, True]

    @contextlib.contextmanager
    def opened() -> Iterator[kernel.Kernel]:
        if refused:
            refused.pop()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        yield memory_kernel.MemoryKernel(here.machine, here.machine.home.identity)

    daemon = calls.Daemon(msgspec.structs.replace(here.node, kernel=opened), here.book)
    record = ended(here)

    def restored() -> bool:
        daemon.stuck.forget(record)  # nobody waits ten seconds here; the refusal is noted a moment after it
        return here.book.read(here.vfs[0]) is None

    async def body() -> None:
        async with loops.running(repair.keep_repairing(daemon, 0.02)) as repairing:
            await loops.until(lambda: not refused)
            await loops.until(restored)
            assert not repairing.done()

    loops.run(body())


@pytest.mark.slow
def test_a_ledger_that_cannot_be_read_is_said_and_repair_goes_on_when_it_can(tmp_path: pathlib.Path) -> None:
    here, where = bench.make(tmp_path), http_address.Unix(tmp_path / HTTP)
    monitor = endpoint.DaemonMonitor(where, 1000)
    daemon = msgspec.structs.replace(
        calls.Daemon(here.node, here.book, meter=monitor.meter), troubles=daemon_problems.Trouble(tmp_path / "run")
    )
    (tmp_path / "cni.sock").touch()
    ended(here)
    obstacle = tmp_path / "run/vfs/0000:ff:00.0.json"
    obstacle.mkdir()

    async def body() -> None:
        repairing = repair.keep_repairing(daemon, 0.02)
        async with monitor.serving(daemon, tmp_path / "cni.sock"), loops.running(repairing):
            await loops.until(lambda: any(each.startswith("repair") for each in daemon.problems()))
            code, said = await clients.get(where, "/readyz")
            assert code == 503
            assert "repair: failed 1 times in a row, last with LedgerError: cannot read" in said
            samples = await clients.scrape(where)
            assert clients.value(samples, "sriov_background_failing", task="repair") == 1
            await loops.until(lambda: bool(daemon_problems.Trouble(tmp_path / "run").read()), 10)
            obstacle.rmdir()
            await loops.until(lambda: here.book.read(here.vfs[0]) is None)
            await loops.until(lambda: not daemon.tasks.problems())

    loops.run(body(), timeout=40)


def test_what_cannot_be_noted_at_the_start_does_not_keep_repair_from_its_work(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path)
    ended(here)
    (here.node.tree.pci(devices.pci_address("0000:01:00.0")) / "virtfn99").symlink_to("../no-address")

    async def body() -> None:
        async with loops.running(repair.keep_repairing(calls.Daemon(here.node, here.book), 0.02)):
            await loops.until(lambda: here.book.read(here.vfs[0]) is None)

    loops.run(body())


def test_without_descriptors_a_vf_that_is_there_is_not_taken_for_gone(tmp_path: pathlib.Path) -> None:
    """Its record would be forgotten, and the next pod would get it as the last one left it."""
    here = bench.make(tmp_path)
    here.attach(here.request())
    here.machine.destroy("pod")
    record = here.book.read(here.vfs[0])
    assert record is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(errors.SriovError):
            calls.Daemon(here.node, here.book).detach(record, None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert here.book.read(here.vfs[0]) is not None
    here.detach()
    assert here.vf_state() == settings.BASELINE


@pytest.mark.slow
def test_vfs_that_nobody_can_restore_wait_beside_one_another_and_the_others_do_not_wait(tmp_path: pathlib.Path) -> None:
    """Six of seven VFs have a driver that is busy for ever; a wait is 3 s."""
    here = bench.make(tmp_path)
    left_behind(here)
    daemon = stubborn(here, set(range(6)), 3.0)

    async def body() -> None:
        started = time.monotonic()
        # As many as the daemon has: an interpreter's own are as few as the VFs that wait here.
        asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(32))
        async with loops.running(repair.keep_repairing(daemon, 0.05)):
            await loops.until(lambda: here.book.read(here.vfs[6]) is None, 2.5)
            await loops.until(lambda: all(map(daemon.stuck.failures, here.book.records())), 15)
            assert time.monotonic() - started < 9, "one after the other they take 18 s"

    loops.run(body(), timeout=30)
    assert {record.pci for record in here.book.records()} == set(here.vfs[:6])
    assert all("EBUSY" in record.problem for record in here.book.records())


def test_a_vf_that_keeps_failing_is_tried_ever_more_seldom_and_is_a_problem(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path)
    left_behind(here)
    record = here.book.read(here.vfs[0])
    assert record is not None
    stuck, now, tries = attempts.Attempts(), 0.0, []
    while now < 3600:
        if stuck.is_due(record, now):
            tries.append(now)
            stuck.failed(record, "EBUSY", now)
            assert bool(stuck.problems()) is (len(tries) >= 3)
        now += 10
    assert tries[:6] == [0, 10, 30, 70, 150, 310]
    assert {after - before for before, after in itertools.pairwise(tries[6:])} == {300}
    assert stuck.problems() == [
        f"VF {here.vfs[0]} of container c0 as net0 could not be restored {len(tries)} times in a row: EBUSY"
    ]
    another = msgspec.structs.replace(record, owner=msgspec.structs.replace(record.owner, container_id="c9"))
    assert stuck.is_due(another, now), "what the last owner left says nothing of the next one's"
    stuck.only([])
    assert stuck.problems() == []


def test_readiness_names_vfs_that_keep_failing_until_a_del_has_ended_them(tmp_path: pathlib.Path) -> None:
    here, where = bench.make(tmp_path), http_address.Unix(tmp_path / HTTP)
    left_behind(here)
    daemon = stubborn(here, {0}, 0.0)
    monitor = endpoint.DaemonMonitor(where, 1000)
    (tmp_path / "cni.sock").touch()

    async def body() -> None:
        async with monitor.serving(daemon, tmp_path / "cni.sock"):
            for _ in range(3):
                await repair.repair(daemon)
            code, said = await clients.get(where, "/readyz")
            assert code == 503
            assert f"VF {here.vfs[0]} of container c0 as net0 could not be restored 3 times in a row" in said
            here.detach()
            await repair.repair(daemon)
            assert here.vfs[0] not in (await clients.get(where, "/readyz"))[1]

    loops.run(body())


def test_what_is_told_is_there_while_there_is_something_to_tell(tmp_path: pathlib.Path) -> None:
    told = daemon_problems.Trouble(tmp_path)
    told.tell(["it rains"])
    assert told.read() == ("it rains",)
    daemon_problems.Trouble(tmp_path).tell([])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "trouble.json").write_bytes(b"\xff")
    assert daemon_problems.Trouble(tmp_path).read() == ()


def test_an_announcement_that_fails_otherwise_than_expected_is_counted(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path)
    daemon = calls.Daemon(here.node, here.book)

    async def broken() -> None:
        raise ValueError("nobody thought of that")

    async def body() -> None:
        daemon.later(broken())
        await asyncio.wait(daemon.chores)
        assert dict(daemon.tasks.tasks)["announcing"].failures == 1

    loops.run(body())


class Pods:
    """The namespaces that reach Services, in memory. `meanwhile` happens once, right before some are forgotten."""

    def __init__(self, *cookies: int) -> None:
        self._cookies = {*cookies}
        self.meanwhile: Callable[[], None] = lambda: None
        self.room = 9

    def admit(self, cookie: int) -> None:
        if len(self._cookies) >= self.room:
            raise errors.SriovError("the pod gets no Services: no room")
        self._cookies.add(cookie)

    def admitted(self) -> set[int]:
        return set(self._cookies)

    def dismiss(self, cookies: Iterable[int]) -> None:
        self.meanwhile()
        self._cookies.difference_update(cookies)

    def apply(self, change: services.TableChange) -> None: ...

    def prove(self) -> None: ...

    def usage(self) -> dict[str, tuple[int, int]]:
        return {}

    def reached(self) -> Iterable[tuple[int, int, bytes, bytes]]:
        return []

    def problems(self) -> list[str]:
        return []


def test_which_namespaces_reach_services_follows_the_ledger(tmp_path: pathlib.Path) -> None:
    """Whoever has removed one, and whatever comes while one is forgotten: an ADD, to the same namespace."""

    async def body(here: bench.Bench) -> None:
        pods = Pods(7, 8)
        daemon = calls.Daemon(here.node, here.book, translation=pods)

        def record(number: int, cookie: int) -> ledger.Record:
            here.attach(here.request(settings.BASELINE, number, container_id=f"c{number}", ifname=f"net{number}"))
            found = here.book.read(here.vfs[number])
            assert found is not None
            return msgspec.structs.replace(found, cookie=cookie)

        def added() -> None:
            here.book.write(again)
            pods.admit(again.cookie)

        here.book.write(record(0, 9))
        again, pods.meanwhile = record(1, 8), added
        here.book.write(msgspec.structs.replace(again, cookie=0))
        await repair.repair(daemon)
        assert pods.admitted() == {8, 9}
        pods.dismiss({9})
        pods.room = 0
        await repair.repair(daemon)
        assert pods.admitted() == {8}, "there is no room, which keeps no VF waiting"
        pods.room = 9
        await repair.repair(daemon)
        assert pods.admitted() == {8, 9}

    loops.run(body(bench.make(tmp_path)))
