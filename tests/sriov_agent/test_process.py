"""From the API server to the daemon's snapshot, with the agent as its own process, and with faults between them."""

import asyncio
import pathlib
import signal
import ssl

import pytest

from sriov.daemon import http_address
from tests.deviceplugin import loops
from tests.sriov.daemon import clients
from tests.sriov_agent import cluster, processes
from tests.sriov_agent.apiserver import StandIn
from tests.sriov_agent.cluster import endpoint, endpoint_slice, service
from tests.sriov_agent.processes import Daemon

ONE = {"10.96.0.1": ["10.1.0.1"]}
TWO = {"10.96.0.1": ["10.1.0.1", "10.1.0.2"]}
FIRST = endpoint("10.1.0.1")
SECOND = endpoint("10.1.0.2")


async def small(api: StandIn) -> None:
    await api.put(
        service(), endpoint_slice(FIRST), cluster.node(("InternalIP", "192.0.2.1")), cluster.cidr("10.96.0.0/16")
    )


async def reaches(daemon: Daemon, expected: dict[str, list[str]], within: float = 15.0) -> None:
    try:
        await loops.until(lambda: daemon.backends() == expected, within)
    except TimeoutError:
        assert daemon.backends() == expected


def log(folder: pathlib.Path) -> str:
    return (folder / "agent.log").read_text()


def test_what_the_cluster_has_comes_into_force_and_stays(tmp_path: pathlib.Path) -> None:
    """Also after the API server, the agent and the daemon have gone, in this order."""

    async def body() -> None:
        api, daemon = StandIn(), Daemon(tmp_path)
        await small(api)
        async with daemon.serving():
            async with api.serving() as port:
                flags = processes.kubeconfig(tmp_path, port)
                async with processes.agent(tmp_path, flags) as process:
                    await reaches(daemon, ONE)
                    await api.put(endpoint_slice(FIRST, SECOND))
                    await reaches(daemon, TWO)
                    assert daemon.receiver.ranges == ("10.96.0.0/16",)
                    process.send_signal(signal.SIGTERM)
                    assert await process.wait() == 0
            await asyncio.sleep(0.2)
            assert daemon.backends() == TWO
        assert daemon.snapshot.stat().st_mode & 0o777 == 0o600
        again = Daemon(tmp_path)
        async with again.serving():
            assert again.backends() == TWO
            assert [each.whole for each in again.applied] == [True]

    loops.run(body(), 60)


def test_the_api_server_goes_and_comes_back(tmp_path: pathlib.Path) -> None:
    """While it is away everything stays; what has changed meanwhile comes by the watch that is taken up again."""

    async def body() -> None:
        api, daemon = StandIn(), Daemon(tmp_path)
        await small(api)
        async with daemon.serving():
            async with api.serving() as port:
                flags = processes.kubeconfig(tmp_path, port)
                agent = processes.agent(tmp_path, flags)
                await agent.__aenter__()
                await reaches(daemon, ONE)
            try:
                await loops.until(lambda: "everything stays as it is, next try in" in log(tmp_path), 15)
                assert daemon.backends() == ONE
                api.asked.clear()
                await api.put(endpoint_slice(FIRST, SECOND))
                async with api.serving(port):
                    await reaches(daemon, TWO)
                    assert {what for _, what, _ in api.asked} == {"watch"}, "nothing was listed again"
            finally:
                await agent.__aexit__(None, None, None)

    loops.run(body(), 60)


async def _fault(api: StandIn, name: str) -> None:
    match name:
        case "cut":
            api.cut()
        case "cut in the middle of a line":
            await api.say('{"type":"MODIFIED","object":{"meta', "EndpointSlice")
            api.cut("EndpointSlice")
        case "rubbish":
            await api.say("{]\n", "EndpointSlice")
        case "410 in a watch":
            api.forget()
            api.oldest += 1
            api.cut("EndpointSlice")
        case "410 as an answer":
            api.answers = [410]
            api.cut("EndpointSlice")
        case "busy":
            api.answers, api.headers = [429, 503], "Retry-After: 1\r\n"
            api.cut("EndpointSlice")
        case _:
            api.answers = [int(name)]
            api.cut("EndpointSlice")
    await api.put(endpoint_slice(FIRST, SECOND))


@pytest.mark.parametrize(
    "name",
    [
        "cut",
        "cut in the middle of a line",
        "rubbish",
        "410 in a watch",
        "410 as an answer",
        "busy",
        "401",
        "403",
        "500",
    ],
)
def test_a_watch_that_breaks_is_taken_up_again(tmp_path: pathlib.Path, name: str) -> None:
    async def body() -> None:
        api, daemon = StandIn(), Daemon(tmp_path)
        await small(api)
        async with daemon.serving(), api.serving() as port:
            flags = processes.kubeconfig(tmp_path, port)
            async with processes.agent(tmp_path, flags) as process:
                await reaches(daemon, ONE)
                await loops.until(lambda: bool(api.watches("EndpointSlice")))
                api.asked.clear()
                await _fault(api, name)
                await reaches(daemon, TWO)
                assert process.returncode is None
                lists = [kind for kind, what, _ in api.asked if what == "list"]
                assert lists == (["EndpointSlice"] if "410" in name else [])
                assert len(daemon.applied) == 2, "one change, not the table again"

    loops.run(body(), 60)


def test_bookmarks_are_asked_for_and_taken(tmp_path: pathlib.Path) -> None:
    """A watch that breaks after one goes on from it, so that an old version that is forgotten does no harm."""

    async def body() -> None:
        api, daemon = StandIn(), Daemon(tmp_path)
        await small(api)
        async with (
            daemon.serving(),
            api.serving() as port,
            processes.agent(tmp_path, processes.kubeconfig(tmp_path, port)),
        ):
            await reaches(daemon, ONE)
            await loops.until(lambda: bool(api.watches("EndpointSlice")))
            assert {options.get("allowWatchBookmarks") for _, what, options in api.asked if what == "watch"} == {"true"}
            await api.bookmark("EndpointSlice")
            api.forget()
            await asyncio.sleep(0.3)  # the bookmark is on its way; the end comes behind it
            api.asked.clear()
            for watch in api.watches("EndpointSlice"):
                watch.close()
            await loops.until(lambda: bool(api.asked))
            [(_, what, options)] = api.asked
            assert (what, options["resourceVersion"]) == ("watch", str(api.version))

    loops.run(body(), 60)


def test_lists_come_in_pages_and_only_what_is_ours(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        api, daemon = StandIn(page=3), Daemon(tmp_path)
        await small(api)
        await api.put(*(service(f"s{number}", clusterIP=f"10.96.1.{number}") for number in range(10)))
        await api.put(
            service("theirs", clusterIP="10.96.2.1", labels={"service.kubernetes.io/service-proxy-name": "x"})
        )
        async with (
            daemon.serving(),
            api.serving() as port,
            processes.agent(tmp_path, processes.kubeconfig(tmp_path, port)),
        ):
            await reaches(daemon, ONE | {f"10.96.1.{number}": [] for number in range(10)})
            assert [what for kind, what, _ in api.asked if kind == "Service" and what == "list"] == ["list"] * 4

    loops.run(body(), 60)


def test_a_cluster_without_service_cidrs_is_served(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        api, daemon = StandIn(), Daemon(tmp_path)
        api.absent.add("ServiceCIDR")
        await small(api)
        async with (
            daemon.serving(),
            api.serving() as port,
            processes.agent(tmp_path, processes.kubeconfig(tmp_path, port)),
        ):
            await reaches(daemon, ONE)
            assert daemon.receiver.ranges == ()

    loops.run(body(), 60)


def test_agents_and_daemons_are_killed_at_any_time(tmp_path: pathlib.Path) -> None:
    """What is in force never shrinks meanwhile, and is right in the end."""

    async def body() -> None:
        api, daemon = StandIn(), Daemon(tmp_path)
        await small(api)
        async with api.serving() as port:
            flags = processes.kubeconfig(tmp_path, port)
            async with daemon.serving():
                async with processes.agent(tmp_path, flags):
                    await reaches(daemon, ONE)
                for pause in (0.1, 0.4, 0.6, 0.8):
                    async with processes.agent(tmp_path, flags):
                        await asyncio.sleep(pause)
                    assert daemon.backends() == ONE
                assert len(daemon.applied) == 1, "an agent that comes back changes nothing"
            async with processes.agent(tmp_path, flags):
                await asyncio.sleep(1.0)
                second = Daemon(tmp_path)
                async with second.serving():
                    await loops.until(lambda: second.backends() == ONE)
                    await api.put(endpoint_slice(FIRST, SECOND))
                    await reaches(second, TWO)
                third = Daemon(tmp_path)
                async with third.serving():
                    await api.put(endpoint_slice(SECOND))
                    await reaches(third, {"10.96.0.1": ["10.1.0.2"]})

    loops.run(body(), 90)


def test_it_answers_whether_the_daemon_has_what_the_cluster_has(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        api, daemon, where = StandIn(), Daemon(tmp_path), http_address.Unix(tmp_path / "http.sock")
        await small(api)
        async with api.serving() as port:
            flags = [processes.kubeconfig(tmp_path, port), f"--http={where}"]
            async with processes.agent(tmp_path, *flags):
                await loops.until(where.path.exists, 15)
                await loops.until(lambda: bool(api.watches("EndpointSlice")))
                code, text = await clients.get(where, "/readyz")
                assert (code, "the CNI daemon at" in text or "has not been sent" in text) == (503, True)
                async with daemon.serving():
                    await reaches(daemon, ONE)
                    assert await clients.get(where, "/readyz") == (200, "ok\n")
                    await api.put(endpoint_slice(FIRST, SECOND))
                    await reaches(daemon, TWO)
                    _, metrics = await clients.get(where, "/metrics")
        lines = metrics.splitlines()
        for line in (
            'sriov_agent_objects{kind="Service"} 1.0',
            'sriov_agent_events_total{kind="EndpointSlice"} 2.0',
            "sriov_agent_frontends 1.0",
            "sriov_agent_backends 2.0",
            "sriov_agent_connected 1.0",
            "sriov_agent_send_seconds_count 1.0",
        ):
            assert line in lines, metrics

    loops.run(body(), 60)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--node="], "the node's name is not known; give --node, or set NODE_NAME"),
        (["--kubeconfig=/nowhere/config"], "/nowhere/config does not say how to reach the API server"),
        (["--service-account-dir=/nowhere"], "/nowhere does not say how to reach the API server"),
    ],
)
def test_without_its_node_or_its_api_server_it_ends(tmp_path: pathlib.Path, flags: list[str], words: str) -> None:
    async def body() -> None:
        async with processes.agent(tmp_path, *flags) as process:
            assert await asyncio.wait_for(process.wait(), 20) == 1
        [line] = log(tmp_path).splitlines()
        assert words in line

    loops.run(body(), 40)


def test_a_service_account_is_believed_by_its_certificate_and_its_token_read_again(tmp_path: pathlib.Path) -> None:
    """As in a pod: HTTPS, and a token that the kubelet replaces before it expires."""

    async def body() -> None:
        api, daemon = StandIn(), Daemon(tmp_path)
        await small(api)
        (tmp_path / "namespace").write_text("kube-system")
        (tmp_path / "token").write_text("first")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(processes.certificate(tmp_path))
        api.token = "first"  # noqa: S105
        async with daemon.serving(), api.serving(tls=tls) as port:
            pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
            async with processes.agent(tmp_path, f"--service-account-dir={tmp_path}", environment=pod):
                await reaches(daemon, ONE)
                (tmp_path / "token").write_text("second")
                api.token = "second"  # noqa: S105
                api.cut("EndpointSlice")
                await api.put(endpoint_slice(FIRST, SECOND))
                await reaches(daemon, TWO)
                assert api.tokens == {"Bearer first", "Bearer second"}

    loops.run(body(), 60)


def test_a_server_that_another_authority_signed_for_is_told_nothing(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        api = StandIn()
        (tmp_path / "namespace").write_text("kube-system")
        (tmp_path / "token").write_text("first")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(processes.certificate(tmp_path))
        processes.certificate(tmp_path)  # the pod believes this one
        async with api.serving(tls=tls) as port:
            pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
            async with processes.agent(tmp_path, f"--service-account-dir={tmp_path}", environment=pod):
                await loops.until(lambda: "CERTIFICATE_VERIFY_FAILED" in log(tmp_path), 15)
        assert (api.tokens, api.asked) == (set(), [])

    loops.run(body(), 60)
