"""The chart's `metrics` values, by a real Prometheus: two nodes, both daemons, the agent and the DRA driver on each.

Prometheus is told of the pods as its discovery would find them, and scrapes through the proxies as prometheus-operator
would have it do. Nodes are loopback addresses, and their loopbacks are ports of this machine's.
"""

import asyncio
import contextlib
import dataclasses
import json
import pathlib
import re
import ssl
from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any

import pytest
import yaml

from sriov.daemon import http_address
from sriov.state import ledger
from sriov_cni.context import policy
from sriov_cni.monitoring import counters, endpoint
from tests.deploy import podmonitors, podtargets, prometheus, proxies, rendering, test_alerts, test_rendering
from tests.deploy.rendering import Object
from tests.deviceplugin import loops, test_process
from tests.fakes import bench
from tests.fakes import kubelet as fake
from tests.lab.scraping import servers
from tests.sriov.daemon import clients
from tests.sriov_agent import apiserver, processes
from tests.sriov_agent import cluster as small
from tests.sriov_agent.policies import test_policy_process
from tests.sriov_cni import harness
from tests.sriov_cni.commands import test_repair
from tests.sriov_dra import processes as dra
from tests.sriov_dra.claims import claims

TOKEN = "of-the-reader"  # noqa: S105 (nobody else's)
Found = Collection[tuple[str, ...]]

pytestmark = pytest.mark.slow


class Traffic:
    """What goes through VFs: more at each look."""

    def __init__(self) -> None:
        self._bytes = 0

    def of(self, _record: ledger.Record) -> counters.Counters:
        self._bytes += 1000
        each = counters.Direction(self._bytes, self._bytes // 100, 0, 0)
        return counters.Counters(each, each)


class Translated(test_repair.Pods):
    """Services at work, with a table."""

    def usage(self) -> dict[str, tuple[int, int]]:
        return {"frontends": (1, 65536), "backends": (1, 131072), "members": (0, 16384), "pods": (1, 4096)}


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """`ports` are where the ports of its loopback are on this machine's."""

    name: str
    ip: str
    folder: pathlib.Path
    bench: bench.Bench
    ports: dict[int, int]

    def add(self, pod: str, **keys: object) -> int:
        """Attach a VF to the pod; the error's code."""
        namespace, _, name = pod.partition("/")
        client = harness.Client(self.folder / "cni.sock", "/none", self.bench.machine.path("pod"))
        arguments = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}"
        return client.call("ADD", harness.configuration(str(self.bench.vfs[0]), **keys), ARGS=arguments).code

    @contextlib.asynccontextmanager
    async def device_plugin(self) -> AsyncIterator[None]:
        kubelet = fake.Kubelet(self.folder)
        await kubelet.start()
        config = {"resourceList": [{"resourceName": "igb_vf"}]}
        try:
            async with test_process.started(self.folder, f"--http=127.0.0.1:{self.ports[9557]}", config=config):
                await kubelet.wait_for("intel.com/igb_vf", 7, timeout=30)
                yield
        finally:
            await kubelet.stop()

    @contextlib.contextmanager
    def cni_daemon(self) -> Iterator[None]:
        monitor = endpoint.DaemonMonitor(http_address.Tcp("127.0.0.1", self.ports[9558]), 0.2, Traffic().of)
        socket = self.folder / "cni.sock"
        services = monitor.count_services(lambda: 0.0)
        services.changed(0.01)
        monitor.count_policies(lambda: {"sets": (1, 16384)}).took(None, 0.01)
        further: dict[str, Any] = {"guard": policy.Guard(self.folder / "policy.json"), "translation": Translated()}
        with harness.daemon(self.bench.node, self.bench.book, socket, self.bench.machine.adopt, monitor, **further):
            monitor.meter.chose("socket")
            yield

    @contextlib.asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """With a cluster of one Service and a pod with a policy, and the CNI daemon's receivers."""
        api = apiserver.StandIn()
        await api.put(small.service(), small.endpoint_slice(small.endpoint()), small.node())
        await api.put(*test_policy_process.NAMESPACES, *test_policy_process.PODS, test_policy_process.DENY)
        http = f"--http=127.0.0.1:{self.ports[9559]}"
        policed = ("--policies=kubernetes", f"--policy-socket={self.folder / 'policies.sock'}")
        async with (
            api.serving() as port,
            processes.Daemon(self.folder).serving(),
            processes.PolicyDaemon(self.folder).serving(),
            processes.agent(self.folder, processes.kubeconfig(self.folder, port), http, *policed),
        ):
            yield

    @contextlib.asynccontextmanager
    async def dra_driver(self, folder: pathlib.Path) -> AsyncIterator[None]:
        """At the pod's own address, beside stand-ins for the API server and the kubelet; `folder` has a short path."""
        folder.mkdir()
        made = dra.Node(folder)
        await made.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
        async with (
            made.api.serving() as port,
            made.kubelet.running(),
            made.driver(port, f"--http={self.ip}:9560"),
        ):
            await made.kubelet.until_registered()
            yield


@pytest.fixture
def nodes(tmp_path: pathlib.Path) -> Iterator[tuple[Node, Node]]:
    prometheus.STORE.provide()
    proxies.STORE.provide()
    made = []
    for name, ip in (("a", "127.0.0.2"), ("b", "127.0.0.3")):
        folder = tmp_path / name
        folder.mkdir()
        ports = {port: clients.free_port() for port in (9557, 9558, 9559)}
        made.append(Node(name, ip, folder, bench.make(folder / "bench"), ports))
    yield (made[0], made[1])
    for each in made:
        each.bench.pod.close()
        each.bench.machine.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """What is rendered, its pods by name as Prometheus is told of them in that file, and Prometheus' address."""

    rendered: list[Object]
    pods: dict[str, Object]
    file: pathlib.Path
    where: http_address.Tcp

    def tell(self) -> None:
        """Have Prometheus see the pods as they are now."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(podtargets.targets(list(self.pods.values()))))
        draft.rename(self.file)

    async def shows(self, query: str, *labels: str, found: Found) -> None:
        """Wait until the answer's series are these, by the values of these labels."""
        await servers.told(query, lambda answer: by(answer, *labels) == set(found), self.where)


def by(answer: servers.Answer, *labels: str) -> set[tuple[str, ...]]:
    return {tuple(dict(series).get(each, "") for each in labels) for series in answer}


@contextlib.asynccontextmanager
async def scraped(
    variant: str, nodes: tuple[Node, Node], folder: pathlib.Path, token: str = TOKEN
) -> AsyncIterator[Cluster]:
    """The chart's pods on the nodes, and a Prometheus with its PodMonitor and its rules."""
    rendered = rendering.chart(test_rendering.VARIANTS[variant])
    daemonset, *others = named(rendered, "DaemonSet")
    monitor, *further = named(rendered, "PodMonitor")
    pods = {each.name: pod(daemonset, each) for each in nodes}
    pods |= {f"{each.name}-dra": pod(other, each) for other in others for each in nodes}
    [ca] = {each["tlsConfig"].get("serverName", "") for each in monitor["spec"]["podMetricsEndpoints"]}
    secrets = secrets_of(folder, proxies.certificate(folder, ca or "self"), token)
    cluster = Cluster(rendered, pods, folder / "pods.json", http_address.Tcp("127.0.0.1", clients.free_port()))
    cluster.tell()
    discovery = {"file_sd_configs": [{"files": [str(cluster.file)]}]}
    scraping = [each for one in (monitor, *further) for each in podmonitors.scrape_configs(one, secrets, discovery)]
    text = configuration(rendered, scraping, folder)
    server = prometheus.STORE.needs() / prometheus.SERVER
    with proxies.running(folder, [each for node in nodes for each in proxies_of(daemonset, node)], TOKEN):
        async with servers.running(server, folder, text, cluster.where):
            yield cluster


def named(rendered: list[Object], kind: str) -> list[Object]:
    """Of this kind, by name: the DRA driver's comes last."""
    return sorted((each for each in rendered if each["kind"] == kind), key=lambda each: str(each["metadata"]["name"]))


def secrets_of(folder: pathlib.Path, certificate: pathlib.Path, token: str) -> dict[tuple[str, str], pathlib.Path]:
    """What Kubernetes writes for the chart's account, and what the values name."""
    (folder / "token").write_text(token)
    accounts = ("sriov-underlay-metrics-reader", "reader")
    return {**{(name, "token"): folder / "token" for name in accounts}, ("ca", "ca.crt"): certificate}


def configuration(rendered: list[Object], scraping: list[Object], folder: pathlib.Path) -> str:
    [rules] = [each["spec"] for each in rendered if each["kind"] == "PrometheusRule"] or [{"groups": []}]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    intervals = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    quick = [{key: value for key, value in each.items() if key != "scrape_interval"} for each in scraping]
    rule_files = [str(folder / "rules.yaml")]
    return json.dumps({"global": intervals, "rule_files": rule_files, "scrape_configs": quick})  # which is YAML, too


def pod(daemonset: Object, node: Node) -> Object:
    template = daemonset["spec"]["template"]
    about = {"name": f"{daemonset['metadata']['name']}-{node.name}", "namespace": "kube-system"}
    status = {"phase": "Running", "podIP": node.ip, "hostIP": node.ip}
    spec = {**template["spec"], "nodeName": node.name}
    return {"metadata": {**template["metadata"], **about}, "spec": spec, "status": status}


def proxies_of(daemonset: Object, node: Node) -> list[proxies.Proxy]:
    found = [each for name, each in rendering.containers(daemonset).items() if name.endswith("-metrics")]
    listening = [each["ports"][0]["containerPort"] for each in found]
    ports = dict(zip(listening, [*node.ports.values()][: len(found)], strict=True))  # the agent's is the last
    return [proxies.proxy(each, node.ip, ports) for each in found]


async def asked(where: http_address.Tcp, path: str, token: str) -> tuple[int, str]:
    """Ask a proxy by TLS, whoever signed its certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(where.host, where.port, ssl=context)
    accept = "Accept: application/openmetrics-text; version=1.0.0\r\nConnection: close\r\n"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{accept}\r\n".encode())
    told = (await reader.read()).decode()
    writer.close()
    return int(told.split()[1]), told


def test_two_nodes_in_dashboard_and_alerts(
    nodes: tuple[Node, Node], tmp_path: pathlib.Path, folder: pathlib.Path
) -> None:
    async def body() -> None:
        a, b = nodes
        async with contextlib.AsyncExitStack() as running:
            for each in nodes:
                await running.enter_async_context(each.device_plugin())
                await running.enter_async_context(each.agent())
                await running.enter_async_context(each.dra_driver(folder / each.name))
            running.enter_context(a.cni_daemon())
            stopping = contextlib.ExitStack()
            running.enter_context(stopping).enter_context(b.cni_daemon())
            variant = "services and claims, and everything of metrics"
            cluster = await running.enter_async_context(scraped(variant, nodes, tmp_path))
            await targets_are_up(cluster)
            for node, owner in ((a, "blue/db-0"), (b, "green/web-0")):
                assert await asyncio.to_thread(node.add, owner) == 0
            await labels_say_where_and_whose(cluster)
            await the_dashboard_shows_both_nodes(cluster)
            await cluster.shows("ALERTS", "alertname", found=set())
            await a_node_in_trouble_is_named(cluster, a, b, stopping)
            await targets_that_vanish_are_named(cluster)

    loops.run(body(), timeout=500)


async def targets_are_up(cluster: Cluster) -> None:
    programs = (
        ("sriov-device-plugin", "device-plugin", 9557),
        ("sriov-cni", "cni-daemon", 9558),
        ("sriov-agent", "agent", 9559),
    )
    pods = ("sriov-underlay-a", "a", "127.0.0.2"), ("sriov-underlay-b", "b", "127.0.0.3")
    wanted = {
        (job, name, f"{name}-metrics", "kube-system", pod, node, f"{ip}:{port}")
        for job, name, port in programs
        for pod, node, ip in pods
    }
    wanted |= {
        ("sriov-dra", "http", "dra-driver", "kube-system", f"sriov-underlay-dra-{node}", node, f"{ip}:9560")
        for _, node, ip in pods
    }
    labels = ("job", "endpoint", "container", "namespace", "pod", "node", "instance")
    await cluster.shows("up == 1", *labels, found=wanted)


async def labels_say_where_and_whose(cluster: Cluster) -> None:
    """Every series has its node; a VF's pod is who has it, and any other series' pod is the DaemonSet's."""
    vfs = 'sriov_vf_receive_bytes_total{pf!=""}'
    await cluster.shows(vfs, "namespace", "pod", "node", found={("blue", "db-0", "a"), ("green", "web-0", "b")})
    ours = {("kube-system", "sriov-underlay-a", "a"), ("kube-system", "sriov-underlay-b", "b")}
    await cluster.shows("sriov_cni_repairs_total", "namespace", "pod", "node", found=ours)
    assert await servers.asked('{__name__=~"sriov_.+", node=""}', cluster.where) == {}
    assert await servers.asked('{__name__=~".+", exported_pod!=""}', cluster.where) == {}


async def the_dashboard_shows_both_nodes(cluster: Cluster) -> None:
    """As it is in the ConfigMap: every panel has something to show, but those of failures."""
    [stored] = [each["data"] for each in cluster.rendered if each["metadata"]["name"] == "sriov-underlay-dashboard"]
    panels = json.loads(stored["sriov-underlay.json"])["panels"]
    queries = [each["expr"] for panel in panels for each in panel.get("targets", [])]
    assert queries == test_alerts.expressions()
    for query in queries:
        await servers.told(filled(query), _none if "sriov_background_fail" in query else bool, cluster.where)
    [memory] = [each for each in queries if "process_resident_memory_bytes" in each]
    four = ("CNI daemon", "device plugin", "agent", "DRA driver")
    programs = {(node, program) for node in ("a", "b") for program in four}
    await cluster.shows(filled(memory), "node", "program", found=programs)
    await cluster.shows(filled(memory, node="b"), "node", "program", found={each for each in programs if "b" in each})


def _none(found: servers.Answer) -> bool:
    return not found


def filled(query: str, node: str = "a|b") -> str:
    """With what Grafana puts in for its variables."""
    query = query.replace("$__rate_interval", "1m").replace("$node", node)
    return re.sub(r"\$(instance|namespace)\b", ".*", query)


async def a_node_in_trouble_is_named(cluster: Cluster, a: Node, b: Node, stopping: contextlib.ExitStack) -> None:
    for _ in range(9):
        assert await asyncio.to_thread(b.add, "green/web-1", vlan=5000) == 7
    (a.folder / "config.json").write_text("{")
    trouble = {("SriovConfigurationRefused", "a"), ("SriovAddsFail", "b")}
    await cluster.shows("ALERTS", "alertname", "node", found=trouble)
    await asyncio.to_thread(stopping.close)
    down = 'ALERTS{alertname=~"Sriov(DaemonDown|.*Vanished|MetricsAbsent)"}'
    await cluster.shows(
        down, "alertname", "node", "endpoint", "job", found={("SriovDaemonDown", "b", "cni-daemon", "sriov-cni")}
    )


async def targets_that_vanish_are_named(cluster: Cluster) -> None:
    """A pod of node a that has one proxy less, and a pod of node b that is gone."""
    spec = cluster.pods["a"]["spec"]
    spec["containers"] = [each for each in spec["containers"] if each["name"] != "cni-daemon-metrics"]
    cluster.tell()
    vanished = 'ALERTS{alertname=~"Sriov.*Vanished"}'
    lost = ("SriovDaemonVanished", "a", "CNI daemon")
    await cluster.shows(vanished, "alertname", "host", "program", found={lost})
    del cluster.pods["b"], cluster.pods["b-dra"]
    cluster.tell()
    await cluster.shows(vanished, "alertname", "host", "program", found={lost, ("SriovNodeVanished", "b", "")})
    await cluster.shows('ALERTS{alertname="SriovDaemonDown"}', "node", found=set())


@pytest.mark.parametrize(("token", "up"), [(TOKEN, 1), ("another", 0)])
def test_a_certificate_is_verified_and_a_token_asked_for(
    nodes: tuple[Node, Node], tmp_path: pathlib.Path, token: str, up: int
) -> None:
    async def body() -> None:
        with nodes[0].cni_daemon(), nodes[1].cni_daemon():
            async with scraped(test_rendering.CERTIFIED, nodes, tmp_path, token) as cluster:
                found = {("a",), ("b",)}
                await cluster.shows(f'up{{job="sriov-cni"}} == {up}', "node", found=found)
                proxy = http_address.Tcp("127.0.0.2", 19558)
                code, page = await asked(proxy, "/metrics", token)
                assert (code, "sriov_build_info" in page) == ((200, True) if up else (401, False))
                assert ("application/openmetrics-text" in page) == bool(up)
                assert (await asked(proxy, "/readyz", token))[0] == 404

    loops.run(body(), timeout=200)
