"""The daemon or the agent dies, or stands still, between any two of its requests: pods that stand keep their Services,
the next one makes the table whole, and nothing of a pod that is gone is left (root).
"""

import contextlib
import itertools
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from sriov_cni.dataplane import services
from tests.deviceplugin import loops
from tests.kernel import mortal, mortal_stage, namespaces
from tests.sriov_agent import cluster, processes
from tests.sriov_agent.apiserver import StandIn
from tests.sriov_cni.dataplane import bpf

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mortal_stage.Stage]:
    bpf.built()
    with contextlib.ExitStack() as stack:
        made = mortal_stage.Stage(tmp_path_factory.mktemp("stage"), stack)
        made.start()
        assert made.call("ADD", mortal_stage.STANDING, made.pod)
        made.tell(made.table(0))
        yield made


@pytest.fixture
def here(stage: mortal_stage.Stage) -> mortal_stage.Stage:
    """The same, with a new daemon that has the first table."""
    stage.start()
    stage.tell(stage.table(0))
    return stage


def gone(here: mortal_stage.Stage, pod: namespaces.Namespace) -> None:
    """What comes after a death: the next daemon, DEL twice, and one more daemon, whose first repair is at once."""
    here.start()
    assert here.served_by() == 0
    for _ in range(2):
        assert here.call("DEL", mortal_stage.PASSING, pod)
    assert not (here.records() - {mortal_stage.STANDING})
    here.start()
    here.assert_alone()
    assert here.served_by() == 0


def test_a_death_before_each_request_of_an_add(here: mortal_stage.Stage) -> None:
    for number in itertools.count(1):
        with namespaces.made("pod") as pod:
            subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)
            with here.nursery.signalled(number):
                answered = here.call("ADD", mortal_stage.PASSING, pod)
            assert here.served_by() == 0, "without a daemon"
            assert not answered or mortal_stage.is_translated(pod)
            gone(here, pod)
        if answered:
            assert number > 8, "the call has hardly any requests: is it made?"
            here.assert_whole(here.table(0))
            return


def test_a_death_before_each_request_of_a_del(here: mortal_stage.Stage) -> None:
    for number in itertools.count(1):
        with namespaces.made("pod") as pod:
            subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)
            assert here.call("ADD", mortal_stage.PASSING, pod)
            with here.nursery.signalled(number):
                answered = here.call("DEL", mortal_stage.PASSING, pod)
            assert here.served_by() == 0, "without a daemon"
            gone(here, pod)
        if answered:
            assert number > 4, "the call has hardly any requests: is it made?"
            here.assert_whole(here.table(0))
            return


def test_a_death_before_each_request_of_a_change(here: mortal_stage.Stage) -> None:
    """The snapshot is written meanwhile: it has the one table or the other."""
    for number in itertools.count(1):
        with here.nursery.signalled(number):
            here.tell(here.table(1))
            assert namespaces.until(lambda: here.is_dead or here.written() == here.table(1))
            survived = not here.is_dead
        assert here.served_by() in (0, 1)
        here.start()
        assert here.served_by() in (0, 1)
        here.tell(here.table(1))
        assert here.served_by() == 1
        here.assert_whole(here.table(1))
        if survived:
            assert number > 6, "the change has hardly any requests: is it made?"
            return
        here.tell(here.table(0))
        assert here.served_by() == 0
        assert namespaces.until(lambda: here.written() == here.table(0))


@pytest.mark.parametrize("fresh", [False, True], ids=["takes over", "after a reboot"])
def test_a_death_before_each_request_of_a_start(here: mortal_stage.Stage, fresh: bool) -> None:
    """Nothing that was pinned is left after a reboot; the snapshot is."""
    assert namespaces.until(lambda: here.written() == here.table(0))
    for number in itertools.count(1):
        here.stop()
        if fresh:
            services.remove(here.pins)
        with here.nursery.signalled(number):
            here.start()
            died = namespaces.until(lambda: here.is_dead, 0.0 if number < 30 else 0.3)
        if not fresh:
            assert here.served_by() == 0, "without a daemon"
        here.start()
        assert namespaces.until(lambda: mortal_stage.is_served(here, 0))
        if not died:
            assert number > 30
            here.assert_whole(here.table(0))
            return


def stopped(here: mortal_stage.Stage, number: int, work: Callable[[], object]) -> bool:
    """Whether the daemon stood still before its `number`-th request; then it goes on, and the work is done."""
    working = threading.Thread(target=work)
    with here.nursery.signalled(number, signal.SIGSTOP):
        working.start()
        namespaces.until(lambda: mortal.state(here.daemon) == "T" or not working.is_alive())
        found = mortal.state(here.daemon) == "T"
        assert here.served_by() in (0, 1), "nobody waits for the daemon"
        os.kill(here.daemon, signal.SIGCONT)
        working.join()
    return found


def test_a_daemon_that_stands_still_before_each_request_of_a_change(here: mortal_stage.Stage) -> None:
    wanted = itertools.cycle((1, 0))
    for number in itertools.count(1):
        table = next(wanted)
        found = stopped(here, number, lambda: here.tell(here.table(table)))  # noqa: B023
        assert here.served_by() == table
        if not found:
            assert number > 4
            here.assert_whole(here.table(table))
            return


def test_a_daemon_that_stands_still_before_each_request_of_an_add_and_a_del(here: mortal_stage.Stage) -> None:
    for command in ("ADD", "DEL"):
        for number in itertools.count(1):
            with namespaces.made("pod") as pod:
                subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)
                if command == "DEL":
                    assert here.call("ADD", mortal_stage.PASSING, pod)
                found = stopped(here, number, lambda: here.call(command, mortal_stage.PASSING, pod))  # noqa: B023
                assert command == "DEL" or mortal_stage.is_translated(pod)
                assert here.call("DEL", mortal_stage.PASSING, pod)
            if not found:
                assert number > 4
                break
    here.start()
    assert namespaces.until(lambda: here.records() == {mortal_stage.STANDING})
    here.assert_whole(here.table(0))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda each: each.name)
def test_an_agent_that_dies_or_stands_still_before_each_of_its_requests(
    here: mortal_stage.Stage, number: signal.Signals
) -> None:
    """The cluster changes meanwhile. What one agent has not brought, the next one brings."""
    ports = [server.getsockname()[1] for server in here.servers]

    async def becomes(server: int) -> None:
        await loops.until(lambda: here.served_by() == server, 20)

    async def body() -> None:
        api, wanted = StandIn(), itertools.cycle((1, 0))
        await api.put(cluster.service(), cluster.node(("InternalIP", "192.0.2.1")))
        async with api.serving() as port:
            places = (f"--cluster-socket={here.folder / 'agent.sock'}", processes.kubeconfig(here.folder, port))
            flags = (f"--node={cluster.NODE}", *places)
            for at in itertools.count(1):
                server = next(wanted)
                await api.put(cluster.endpoint_slice(cluster.endpoint(mortal_stage.LOOPBACK), port=ports[server]))
                with here.nursery.signalled(at, number, "agent"):
                    agent = here.nursery.start("agent", *flags)
                    await loops.until(lambda: mortal.state(agent) in "ZT" or here.served_by() == server, 20)  # noqa: B023
                    found = mortal.state(agent) in "ZT"
                    assert here.served_by() in (0, 1)
                if number == signal.SIGSTOP:
                    os.kill(agent, signal.SIGCONT)
                else:
                    here.nursery.end(agent)
                    agent = here.nursery.start("agent", *flags)
                await becomes(server)
                here.nursery.end(agent)
                assert here.served_by() == server
                if not found:
                    assert at > 8, "the agent has hardly any requests: does it do anything?"
                    return

    loops.run(body(), 60)
