"""A real Prometheus scrapes both daemons of a node whose pods send through real VFs."""

import asyncio
import pathlib
import subprocess

from sriov.daemon import http_address
from sriov_cni.monitoring import endpoint
from tests.deviceplugin import loops
from tests.fakes import kubelet as fake
from tests.kernel import namespaces
from tests.lab import cnis, deviceplugins, igb
from tests.lab.scraping import servers
from tests.sriov_cni import harness

PLUGIN, DAEMON = http_address.Tcp("127.0.0.1", 9557), http_address.Tcp("127.0.0.1", 9558)


def add(folder: pathlib.Path, pod: namespaces.Namespace, index: int) -> str:
    """Give the VF to the pod `db-INDEX`; the address that it got."""
    ipam = {"type": "host-local", "dataDir": str(folder / "leases"), "ranges": [[{"subnet": cnis.SUBNET}]]}
    network = harness.configuration(igb.vf(index).pci, cniVersion="1.0.0", ipam=ipam)
    client = harness.Client(folder / "run/cni.sock", "/usr/lib/cni", pod.path)
    arguments = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=db-{index}"
    answer = client.call("ADD", network, CONTAINERID=f"c{index}", ARGS=arguments)
    assert answer.code == 0, answer
    return str(answer.document["ips"][0]["address"]).partition("/")[0]


def test_pods_traffic_and_the_nodes_devices_are_in_prometheus(tmp_path: pathlib.Path, server: pathlib.Path) -> None:
    async def body(cni: cnis.Cni, pods: tuple[namespaces.Namespace, namespaces.Namespace]) -> None:
        kubelet = fake.Kubelet(tmp_path)
        await kubelet.start()
        selectors = {"rootDevices": [str(igb.PF0)]}
        async with (
            deviceplugins.plugin(tmp_path, kubelet, selectors, 7, f"--http={PLUGIN}"),
            servers.running(server, tmp_path),
        ):
            targets = [await asyncio.to_thread(add, tmp_path, pod, index) for index, pod in enumerate(pods)]
            await servers.told("up", lambda found: sorted(found.values()) == [1, 1])
            await servers.told(
                'sriov_resource_devices{resource="intel.com/igb", health="healthy"}',
                lambda found: list(found.values()) == [7],
            )
            calls = 'sriov_cni_calls_total{command="ADD", code="0"}'
            await servers.told(calls, lambda found: list(found.values()) == [2])
            flood = [
                "ip",
                "netns",
                "exec",
                pods[0].name,
                "ping",
                "-q",
                "-c",
                "300",
                "-i",
                "0.01",
                "-s",
                "1000",
                targets[1],
            ]
            await asyncio.to_thread(subprocess.run, flood, check=True)
            sent = 'sriov_vf_transmit_bytes_total{namespace="blue", pod="db-0", interface="net1", pf=~".+"}'
            await servers.told(sent, lambda found: sum(found.values()) > 300 * 1000)
            heard = 'sriov_vf_receive_packets_total{namespace="blue", pod="db-1", vf="1"}'
            await servers.told(heard, lambda found: sum(found.values()) >= 300)
            await servers.told("sriov_vf_counters_unreadable", lambda found: list(found.values()) == [0])
            for index, pod in enumerate(pods):
                await asyncio.to_thread(cni.delete, igb.vf(index).pci, pod, f"c{index}")
            await servers.told("count(sriov_vf_attached) or vector(0)", lambda found: [*found.values()] == [0])
            await servers.told(
                'count(ALERTS{alertstate="firing"}) or vector(0)', lambda found: [*found.values()] == [0]
            )
        await kubelet.stop()

    monitor = endpoint.DaemonMonitor(DAEMON, 1.0)
    with (
        igb.host(tmp_path) as (here, book),
        harness.daemon(here, book, tmp_path / "run/cni.sock", monitor=monitor),
        namespaces.made("red") as red,
        namespaces.made("blue") as blue,
    ):
        cni = cnis.Cni(tmp_path, here, book)
        loops.run(body(cni, (red, blue)), timeout=500)
        cni.assert_nothing_is_held()
