"""Policies from the API server to the daemon's table, with the agent as its own process, and faults between them."""

import asyncio
import copy
import pathlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from sriov.cluster import framing, pod_policies, policies, policy_frames
from sriov.daemon import http_address
from sriov_agent.policies import objects, view
from tests.deviceplugin import loops
from tests.sriov.daemon import clients
from tests.sriov_agent import processes
from tests.sriov_agent.apiserver import StandIn
from tests.sriov_agent.policies import small_cluster, test_policy_view
from tests.sriov_agent.policies.oracle import Json
from tests.sriov_agent.processes import PolicyDaemon

_KINDS = {
    "Pod": objects.PodObject,
    "Namespace": objects.NamespaceObject,
    "NetworkPolicy": objects.PolicyObject,
    "MultiNetworkPolicy": objects.MultiPolicyObject,
}


def of(kind: str, told: Json) -> Json:
    return {**copy.deepcopy(told), "kind": kind}


NAMESPACES = [of("Namespace", each) for each in small_cluster.NAMESPACES]
PODS = [of("Pod", each) for each in small_cluster.PODS]
A = {"matchLabels": {"pod": "a"}}
NAMED = [{"to": [{"namespaceSelector": {}}], "ports": [{"port": "serve-80-tcp"}]}]
FROM_Y = [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]
DENY = of("NetworkPolicy", small_cluster.policy("x", "deny", podSelector=A))
ALLOW = of("NetworkPolicy", small_cluster.policy("x", "allow", ingress=FROM_Y, egress=NAMED))
NEW = of("Pod", small_cluster.pod("z", "c"))
NEW["metadata"]["name"] = "new"
DENIED = pod_policies.PodPolicy((policies.Grant("x/multi"),))


def expected(api: StandIn, *, multi: bool = False) -> policies.PolicyTable:
    """What the cluster's objects add up to, worked out at once."""
    made = view.PolicyView(small_cluster.NODE, lambda _: None)
    for (kind, _, _), told in api.objects.items():
        if kind in _KINDS and (multi or kind != "MultiNetworkPolicy"):
            made.put(msgspec.convert(told, _KINDS[kind]))
    if multi:
        listed = {(namespace, name) for kind, namespace, name in api.objects if kind == "MultiNetworkPolicy"}
        made.only(objects.MultiPolicyObject, listed)
    return policies.applied(policies.PolicyTable(), made.whole())


async def reaches(daemon: PolicyDaemon, api: StandIn, within: float = 15.0, *, multi: bool = False) -> None:
    try:
        await loops.until(lambda: daemon.held.table == expected(api, multi=multi), within)
    except TimeoutError:
        assert daemon.held.table == expected(api, multi=multi)


@asynccontextmanager
async def agent(folder: pathlib.Path, port: int, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    wanted = flags or ("--policies=kubernetes",)
    socket = f"--policy-socket={folder / 'policies.sock'}"
    async with processes.agent(folder, processes.kubeconfig(folder, port), socket, *wanted) as process:
        yield process


async def filled() -> StandIn:
    api = StandIn(page=4)
    await api.put(*copy.deepcopy([*NAMESPACES, *PODS, DENY, ALLOW]))
    return api


def log(folder: pathlib.Path) -> str:
    return (folder / "agent.log").read_text()


def relabelled(told: Json, **labels: str) -> Json:
    changed = copy.deepcopy(told)
    changed["metadata"]["labels"] = labels
    return changed


def test_pods_namespaces_and_policies_come_change_and_go(tmp_path: pathlib.Path) -> None:
    """After each event the daemon has what a view has that is made of all objects at once."""

    async def body() -> None:
        api, daemon = await filled(), PolicyDaemon(tmp_path)
        async with daemon.serving(), api.serving() as port, agent(tmp_path, port):
            await reaches(daemon, api)
            await asyncio.sleep(0.1)
            assert len(daemon.heard) == 1, "the whole table, and not piece by piece as it is listed"
            moved = copy.deepcopy(PODS[4])
            moved["status"]["podIPs"] = [{"ip": "10.0.9.9"}]
            for event in (
                NEW,
                moved,
                relabelled(PODS[1], pod="a"),
                relabelled(NAMESPACES[2], ns="y"),
                of("NetworkPolicy", small_cluster.policy("x", "deny", ingress=[{}])),
                of("NetworkPolicy", small_cluster.policy("y", "third", egress=[])),
            ):
                before = daemon.held.table
                await api.put(copy.deepcopy(event))
                await reaches(daemon, api)
                assert daemon.held.table != before
            for gone in (DENY, NEW, PODS[4], NAMESPACES[2], ALLOW):
                before = daemon.held.table
                await api.delete(copy.deepcopy(gone))
                await reaches(daemon, api)
                assert daemon.held.table != before

    loops.run(body(), 90)


def test_nothing_is_sent_before_all_is_listed(tmp_path: pathlib.Path) -> None:
    """Without the namespaces, what a selector of namespaces takes would be closed."""

    async def body() -> None:
        api, daemon = await filled(), PolicyDaemon(tmp_path)
        api.absent.add("Namespace")
        async with daemon.serving(), api.serving() as port, agent(tmp_path, port):
            await loops.until(lambda: "listing Namespaces: the API server answers 404" in log(tmp_path), 15)
            await asyncio.sleep(0.5)
            assert daemon.held.table is None
            api.absent.clear()
            await reaches(daemon, api)

    loops.run(body(), 60)


def test_nothing_opens_and_nothing_closes_while_somebody_is_away(tmp_path: pathlib.Path) -> None:
    """The API server, the agent, the daemon; and a list of which the versions are forgotten. The table is as it was."""

    async def body() -> None:
        api, daemon = await filled(), PolicyDaemon(tmp_path)
        table = expected(api)
        async with daemon.serving():
            async with api.serving() as port:
                async with agent(tmp_path, port) as process:
                    await reaches(daemon, api)
                    api.forget()
                    api.oldest += 1
                    api.asked.clear()
                    api.cut()
                    await loops.until(lambda: ("Pod", "list") in [each[:2] for each in api.asked], 15)
                    process.send_signal(signal.SIGKILL)
                for pause in (0.2, 0.6, 0.9):
                    async with agent(tmp_path, port):
                        await asyncio.sleep(pause)
                agents = agent(tmp_path, port)
                await agents.__aenter__()
                await loops.until(lambda: log(tmp_path).count("has been sent the table of policies") >= 2, 15)
            try:
                await loops.until(lambda: "watching Pods: " in log(tmp_path), 15)
                assert (daemon.held.table, len(daemon.heard)) == (table, 1)
                assert "stopped" not in log(tmp_path)
            finally:
                await agents.__aexit__(None, None, None)
        again = PolicyDaemon(tmp_path)
        async with again.serving():
            assert again.held.table == table
            await api.put(copy.deepcopy(NEW))
            async with api.serving(port), agent(tmp_path, port):
                await reaches(again, api)
            assert again.heard[1:] == [{("z", "new", "")}], "of what it has from disk, the difference"

    loops.run(body(), 90)


def test_a_snapshot_that_is_damaged_leaves_everything_to_the_agent(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        api, daemon = await filled(), PolicyDaemon(tmp_path)
        async with api.serving() as port, agent(tmp_path, port):
            async with daemon.serving():
                await reaches(daemon, api)
                await loops.until(daemon.where.snapshot.exists, 30)
            daemon.where.snapshot.write_bytes(daemon.where.snapshot.read_bytes()[:-1])
            again = PolicyDaemon(tmp_path)
            async with again.serving():
                assert (again.held.table, again.heard) == (None, []), "nobody hears that something has gone"
                await reaches(again, api)

    loops.run(body(), 60)


def test_policies_of_one_namespace_that_are_too_many_keep_nothing_from_the_others(tmp_path: pathlib.Path) -> None:
    many = [{"podSelector": {"matchLabels": {"number": str(number)}}} for number in range(policy_frames.MOST_SETS + 1)]
    large = of("NetworkPolicy", small_cluster.policy("z", "large", podSelector=A, ingress=[{"from": many}]))

    async def body() -> None:
        api, daemon = await filled(), PolicyDaemon(tmp_path)
        async with daemon.serving(), api.serving() as port, agent(tmp_path, port):
            await reaches(daemon, api)
            await api.put(large)
            await loops.until(lambda: "Pod z/a: its policies are more than a node takes" in log(tmp_path), 30)
            for event in (NEW, of("NetworkPolicy", small_cluster.policy("y", "third", egress=[]))):
                await api.put(copy.deepcopy(event))
                await reaches(daemon, api)
            assert daemon.held.rules_of("z", "a", "") == pod_policies.PodPolicy(())
            assert daemon.held.rules_of("z", "new", "") == pod_policies.EVERYTHING
            await api.delete(large)
            await reaches(daemon, api)
            assert daemon.held.rules_of("z", "a", "") == pod_policies.EVERYTHING
        assert "does not take policies" not in log(tmp_path)

    loops.run(body(), 90)


@pytest.mark.parametrize("is_served", [True, False])
def test_multi_network_policies_are_watched_where_they_are_served(tmp_path: pathlib.Path, is_served: bool) -> None:
    async def body() -> None:
        api, daemon = await filled(), PolicyDaemon(tmp_path)
        await api.put(of("Pod", test_policy_view.attached(small_cluster.PODS[0], "x/blue")))
        if is_served:
            await api.put(of("MultiNetworkPolicy", test_policy_view.multi("blue", ingress=[])))
        else:
            api.absent.add("MultiNetworkPolicy")
        async with daemon.serving(), api.serving() as port, agent(tmp_path, port, "--policies=all"):
            await reaches(daemon, api, multi=is_served)
            rules = daemon.held.rules_of("x", "a", "blue")
            assert rules == (DENIED if is_served else None)
            assert daemon.held.rules_of("x", "b", "blue") == (pod_policies.EVERYTHING if is_served else None)

    loops.run(body(), 60)


def test_an_agent_says_what_it_watches_from_its_start_on_and_when_that_is_served_no_more(
    tmp_path: pathlib.Path,
) -> None:
    """Where it does not watch MultiNetworkPolicies, nothing is known of a pod in a network that they could be for."""

    async def body() -> None:
        api, daemon = await filled(), PolicyDaemon(tmp_path)
        await api.put(of("Pod", test_policy_view.attached(small_cluster.PODS[0], "x/blue")))
        await api.put(of("MultiNetworkPolicy", test_policy_view.multi("blue", ingress=[])))
        async with daemon.serving(), api.serving() as port:
            async with agent(tmp_path, port):
                await reaches(daemon, api)
                assert daemon.held.rules_of("x", "a", "blue") is None
                assert daemon.held.unwatched("blue") == "MultiNetworkPolicy"
            async with agent(tmp_path, port, "--policies=all"):
                await reaches(daemon, api, multi=True)
                assert daemon.held.rules_of("x", "a", "blue") == DENIED
                assert daemon.held.unwatched("blue") == ""
                api.absent.add("MultiNetworkPolicy")
                api.cut("MultiNetworkPolicy")
                await reaches(daemon, api)
                assert daemon.held.rules_of("x", "a", "blue") is None
        assert "the API server does not serve MultiNetworkPolicy: " in log(tmp_path)

    loops.run(body(), 60)


def test_a_pod_that_is_made_again_is_asked_for_and_a_static_one_has_its_files_uid(tmp_path: pathlib.Path) -> None:
    """The watch has told of the former one alone; the API server's UID of a static pod is one that no runtime knows."""

    async def body() -> None:
        api, daemon = await filled(), PolicyDaemon(tmp_path)
        static = relabelled(NEW, pod="a")
        static["metadata"] |= {"name": "static", "annotations": {"kubernetes.io/config.mirror": "0123abcd"}}
        await api.put(copy.deepcopy(NEW), static)
        async with daemon.serving(), api.serving() as port, agent(tmp_path, port):
            await reaches(daemon, api)
            assert daemon.held.rules_of("z", "static", "", "0123abcd") is not None
            api.late.add("Pod")
            again = copy.deepcopy(NEW)
            again["metadata"]["uid"] = "again"
            await api.put(again)
            assert daemon.held.rules_of("z", "new", "", "again") is None
            assert await daemon.held.wait_for("z", "new", "", 5, "again") == pod_policies.EVERYTHING
            assert daemon.held.table == expected(api)
            assert await daemon.held.wait_for("z", "new", "", 0.5, NEW["metadata"]["uid"]) is None

    loops.run(body(), 60)


def test_a_pod_of_which_no_watch_tells_is_asked_for(tmp_path: pathlib.Path) -> None:
    """Once, by name; what a watch tells of it is what counts from then on."""

    async def body() -> None:
        api, daemon = await filled(), PolicyDaemon(tmp_path)
        async with daemon.serving(), api.serving() as port, agent(tmp_path, port):
            await reaches(daemon, api)
            api.late.add("Pod")
            await api.put(copy.deepcopy(NEW))
            api.asked.clear()
            assert await daemon.held.wait_for("z", "new", "", 2) is not None
            assert daemon.held.table == expected(api)
            assert [(what, options) for kind, what, options in api.asked if kind == "Pod"] == [
                ("get", {"name": "z/new"})
            ]
            assert await daemon.held.wait_for("z", "nobody", "", 0.5) is None
            await loops.until(lambda: "the CNI daemon asks for pod z/nobody: getting Pod z/nobody" in log(tmp_path))
            await api.delete(copy.deepcopy(NEW))
            api.late.clear()
            await reaches(daemon, api)
            assert await daemon.held.wait_for("z", "new", "", 0.5) is None

    loops.run(body(), 60)


def test_requests_that_name_no_pod_are_refused_and_many_are_bounded(tmp_path: pathlib.Path) -> None:
    """Whoever has the daemon's socket cannot ask for another path, nor flood the API server through its agent."""

    async def body() -> None:
        api = await filled()
        connected = asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()
        path = tmp_path / "policies.sock"
        async with (
            await asyncio.start_unix_server(lambda *both: connected.put_nowait(both), path),
            api.serving() as port,
            agent(tmp_path, port),
        ):
            for wrong in (policy_frames.request("x", "../../../nodes"), framing.HEAD.pack(5000), b"\0\0\0\1\xc1"):
                reader, writer = await connected.get()
                await reader.readexactly(framing.HEAD.size)
                writer.write(wrong)
                await reader.read()
                writer.close()
            _, writer = await connected.get()
            api.asked.clear()
            for number in range(5000):
                writer.write(policy_frames.request("x", f"nobody-{number}"))
            await asyncio.sleep(1.0)
            asked = [options["name"] for _, what, options in api.asked if what == "get"]
            assert 5 <= len(asked) <= 60
            assert asked[:2] == ["x/nobody-0", "x/nobody-1"]
            writer.close()
        assert "the CNI daemon asks for no pod: 'x', '../../../nodes' are no namespace and pod" in log(tmp_path)
        assert "the CNI daemon asks for no pod: 5000 bytes, where 1 to 1024 are taken" in log(tmp_path)

    loops.run(body(), 60)


def test_it_answers_whether_the_daemon_has_the_policies(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        api, daemon, where = await filled(), PolicyDaemon(tmp_path), http_address.Unix(tmp_path / "http.sock")
        services = processes.Daemon(tmp_path)
        async with (
            services.serving(),
            api.serving() as port,
            agent(tmp_path, port, "--policies=kubernetes", f"--http={where}"),
        ):
            await loops.until(where.path.exists, 15)
            await loops.until(lambda: "does not take policies" in log(tmp_path), 15)
            code, text = await clients.get(where, "/readyz")
            assert (code, f"the CNI daemon at {tmp_path / 'policies.sock'} does not take policies" in text) == (
                503,
                True,
            )
            async with daemon.serving():
                await reaches(daemon, api)
                assert await clients.get(where, "/readyz") == (200, "ok\n")
                await api.put(copy.deepcopy(NEW))
                await reaches(daemon, api)
                _, metrics = await clients.get(where, "/metrics")
        addresses = sum(map(len, expected(api).sets.values()))
        for line in (
            'sriov_agent_objects{kind="Pod"} 10.0',
            'sriov_agent_objects{kind="NetworkPolicy"} 2.0',
            "sriov_agent_policy_pods 10.0",
            f"sriov_agent_policy_addresses {float(addresses)}",
            "sriov_agent_policy_oversized_pods 0.0",
            "sriov_agent_policy_connected 1.0",
            "sriov_agent_policy_send_seconds_count 1.0",
        ):
            assert line in metrics.splitlines(), metrics

    loops.run(body(), 60)


def test_without_policies_nothing_is_asked_and_nothing_imported(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        api, daemon = await filled(), processes.Daemon(tmp_path)
        async with (
            daemon.serving(),
            api.serving() as port,
            processes.agent(tmp_path, processes.kubeconfig(tmp_path, port)),
        ):
            await loops.until(lambda: "has been sent the table of Services" in log(tmp_path), 15)
            assert {kind for kind, _, _ in api.asked} == {"Service", "EndpointSlice", "Node", "ServiceCIDR"}

    loops.run(body(), 40)
    for program in ("sriov_agent", "sriov_cni"):
        told = f"import sys; from {program} import app; print([each for each in sys.modules if 'policies' in each])"
        done = subprocess.run([sys.executable, "-P", "-c", told], cwd=processes.ROOT, capture_output=True, check=True,
                              text=True, env={"PYTHONPATH": str(processes.ROOT)})  # fmt: skip
        assert done.stdout == "[]\n"
