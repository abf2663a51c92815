"""No frame passes that a policy denies while the daemon and the agent are killed, restarted and replaced (root).

The agent, the daemon and the kernel's rules are real; the API server is a stand-in on a real socket.
"""

import asyncio
import contextlib
import pathlib
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from sriov.linux import netns, nftables
from sriov_cni.dataplane.policies import policy_filter
from tests import tiers
from tests.deviceplugin import loops
from tests.kernel import linked, policed, test_gc, test_policy_window
from tests.kernel.linked import V4
from tests.kernel.test_policy_window import end, got, start
from tests.sriov_agent.apiserver import StandIn
from tests.sriov_agent.policies import small_cluster, test_policy_process
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
ROUNDS = 50 if tiers.LONG else 1
POD = test_policy_process.of(
    "Pod", small_cluster.pod("x", "a", status={"phase": "Running", "podIPs": [{"ip": V4.pod}]})
)


class Cluster:
    """A node whose daemon and agent may die, and an API server that may be away."""

    def __init__(self, place: linked.Place, folder: pathlib.Path, api: StandIn, port: int) -> None:
        self.stage = policed.Stage(place, folder / "none")
        self.api = api
        self._folder, self._port, self._changes = folder, port, 0
        self._daemons, self._agents = contextlib.ExitStack(), contextlib.AsyncExitStack()
        self.daemon: subprocess.Popen[bytes] | None = place.daemon
        self.agent: asyncio.subprocess.Process | None = None

    @property
    def snapshot(self) -> pathlib.Path:
        return self._folder / "lib/policies"

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()
        (self._folder / "run/cni.sock").unlink()

    def stop_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.terminate()
        self.daemon.wait()

    async def start_daemon(self) -> None:
        new = test_gc.daemon(self.stage.place.node, self._folder, *flags(self._folder))
        self.daemon = await asyncio.to_thread(self._daemons.enter_context, new)

    async def kill_agent(self) -> None:
        await self._agents.aclose()

    async def start_agent(self) -> None:
        new = test_policy_process.agent(self._folder, self._port)
        self.agent = await self._agents.enter_async_context(new)

    async def close(self) -> None:
        await self._agents.aclose()
        self._daemons.close()

    async def is_in_force(self) -> None:
        """Whoever has just started is in charge: a change of the cluster comes to be in force.

        A second one is needed where the first only makes good what a daemon that was killed had not written yet. It is
        another one than the first, which an agent that comes late sees together with it.
        """
        before = self.stage.digest
        for patience in (10, 60):
            self._changes += 1
            opened = small_cluster.policy("x", "other", egress=[{"ports": [{"port": self._changes}]}])
            await self.api.put(test_policy_process.of("NetworkPolicy", opened))
            with contextlib.suppress(TimeoutError):
                await loops.until(lambda: self.stage.digest != before, patience)
                return
        raise AssertionError("nobody is in charge")

    async def begin(self, number: int) -> None:
        await asyncio.to_thread(start, self.stage, number, 10)

    async def end(self, number: int) -> None:
        await asyncio.to_thread(end, self.stage, number)


def flags(folder: pathlib.Path) -> list[str]:
    snapshot = str(folder / "lib/policies")
    return ["--policy-socket", str(folder / "policies.sock"), "--policy-snapshot", snapshot, "--cluster-uid", "0"]


@contextlib.asynccontextmanager
async def cluster(folder: pathlib.Path, place: linked.Place) -> AsyncIterator[Cluster]:
    api = StandIn()
    namespace = test_policy_process.NAMESPACES[0]
    await api.put(namespace, POD, test_policy_process.of("NetworkPolicy", small_cluster.policy("x", "deny", **DENY)))
    async with api.serving() as port:
        made = Cluster(place, folder, api, port)
        try:
            await made.start_agent()
            yield made
        finally:
            await made.close()


DENY = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


async def the_agent_is_killed(here: Cluster) -> None:
    await here.kill_agent()
    await asyncio.sleep(0.2)
    await here.start_agent()


async def the_daemon_is_killed(here: Cluster) -> None:
    here.kill_daemon()
    await here.start_daemon()


async def both_are_killed(here: Cluster) -> None:
    here.kill_daemon()
    await here.kill_agent()
    await here.start_daemon()
    await here.start_agent()


async def the_daemon_is_replaced_by_one_with_other_rules(here: Cluster) -> None:
    """As another version has: what it finds has another digest."""
    here.stop_daemon()
    with netns.entered(here.stage.place.pod.handle):
        chain = f"chain inet {policed.TABLE} {policy_filter.STAMP}"
        nftables.run(f'delete {chain}\nadd {chain} {{ comment "other"; }}')
    await here.start_daemon()
    await loops.until(lambda: here.stage.digest not in ("other", ""), 30)


async def the_daemon_is_killed_before_it_has_written(here: Cluster) -> None:
    """The next one knows the table of before, and leaves alone what is newer until the agent tells it anew."""
    older = here.snapshot.read_bytes()
    await here.is_in_force()
    newer = here.stage.digest
    await here.kill_agent()
    here.kill_daemon()
    here.snapshot.write_bytes(older)
    await here.start_daemon()
    await asyncio.sleep(1)
    assert here.stage.digest == newer
    await here.start_agent()


async def the_daemon_has_forgotten_everything(here: Cluster) -> None:
    """Until the agent tells it anew, nothing is known of any pod, and the rules of those that run stay."""
    await here.kill_agent()
    here.stop_daemon()
    here.snapshot.unlink(missing_ok=True)
    await here.start_daemon()
    await asyncio.sleep(0.3)
    await here.start_agent()


DEATHS: tuple[Callable[[Cluster], Awaitable[None]], ...] = (
    the_agent_is_killed,
    the_daemon_is_killed,
    both_are_killed,
    the_daemon_is_replaced_by_one_with_other_rules,
    the_daemon_is_killed_before_it_has_written,
    the_daemon_has_forgotten_everything,
)


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[linked.Place]:
    with linked.opened(tmp_path, *flags(tmp_path)) as made:
        yield made


@pytest.mark.slow
def test_no_frame_passes_while_daemon_and_agent_are_killed_restarted_and_replaced(
    tmp_path: pathlib.Path, place: linked.Place
) -> None:
    """Pods start and end between the deaths; in the end the policy is gone, and the flood comes through."""

    async def body(ends: tuple[socket.socket, socket.socket]) -> None:
        async with cluster(tmp_path, place) as here:
            for number in range(ROUNDS):
                for at, death in enumerate(DEATHS):
                    await here.begin(number * len(DEATHS) + at)
                    await death(here)
                    await here.is_in_force()
                    assert [got(each) for each in ends] == [0, 0], death
                    await here.end(number * len(DEATHS) + at)
            assert [got(each) for each in ends] == [0, 0]
            await here.begin(-1)
            for key in [each for each in here.api.objects if each[0] == "NetworkPolicy"]:
                await here.api.delete(here.api.objects[key])
            await loops.until(lambda: all(got(each) > 0 for each in ends), 30)
            await here.end(-1)

    with test_policy_window.both_ways(policed.Stage(place, tmp_path / "none")) as ends:
        loops.run(body(ends), 600 * ROUNDS)


def test_a_pod_that_is_made_again_while_the_agent_is_away_starts_with_its_own_rules(
    tmp_path: pathlib.Path, place: linked.Place
) -> None:
    """As a StatefulSet's is, which no policy has selected before: until the agent tells of it, it does not start."""
    again = test_policy_process.relabelled(POD, pod="again")
    again["metadata"]["uid"] = "again"
    selector = {"podSelector": {"matchLabels": {"pod": "again"}}, "policyTypes": DENY["policyTypes"]}

    def call(command: str, uid: str) -> harness.Answer:
        network = policed.network(families=(V4,))
        return place.client.call(command, network, ARGS=f"{policed.POD};K8S_POD_UID={uid}")

    async def body() -> None:
        async with cluster(tmp_path, place) as here:
            await here.api.put(test_policy_process.of("NetworkPolicy", small_cluster.policy("x", "deny", **selector)))
            await loops.until(here.snapshot.exists, 30)
            started = await asyncio.to_thread(call, "ADD", POD["metadata"]["uid"])
            assert started.code == 0, started
            await loops.until(lambda: here.stage.digest == "", 30)
            assert await asyncio.to_thread(here.stage.reaches, V4, ingress=True)
            assert (await asyncio.to_thread(call, "DEL", POD["metadata"]["uid"])).code == 0
            await here.kill_agent()
            await here.api.delete(POD)
            await here.api.put(again)
            refused = await asyncio.to_thread(call, "ADD", "again")
            assert (refused.code, "another pod of its name" in refused.message) == (11, True), refused
            await here.start_agent()
            while (answer := await asyncio.to_thread(call, "ADD", "again")).code == 11:
                assert "another pod of its name" in answer.message
            assert answer.code == 0
            assert not await asyncio.to_thread(here.stage.reaches, V4, ingress=True)

    loops.run(body(), 120)
