"""The device plugin's status as a scrape finds it."""

import asyncio
import json
import pathlib
from collections.abc import Callable

import grpc
import pytest

from deviceplugin import monitoring, status
from sriov.daemon import http_address
from tests.deviceplugin import loops, test_process
from tests.fakes import kubelet as fake
from tests.sriov.daemon import clients

RESOURCE = "intel.com/igb_vf"


def test_it_counts_what_the_kubelet_asks_and_what_becomes_of_the_file(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "http.sock")

    async def until(met: Callable[[clients.Samples], bool]) -> clients.Samples:
        async with asyncio.timeout(10):
            while not met(found := await clients.scrape(where)):
                await asyncio.sleep(0.02)
        return found

    async def body() -> None:
        kubelet = fake.Kubelet(tmp_path)
        await kubelet.start()
        async with test_process.started(tmp_path, f"--http={where}") as process:
            await kubelet.wait_for(RESOURCE, 7, timeout=10)
            await kubelet.request(RESOURCE, ["0000:01:10.0"])
            await kubelet.request(RESOURCE, ["0000:01:10.0", "0000:01:10.2"])
            with pytest.raises(grpc.aio.AioRpcError):
                await kubelet.request(RESOURCE, ["nobody"])
            found = await until(lambda now: clients.values(now, "sriov_resource_registered", resource=RESOURCE) == [1])
            assert clients.value(found, "sriov_resource_devices", resource=RESOURCE, health="healthy") == 7
            assert clients.value(found, "sriov_resource_devices", resource=RESOURCE, health="unhealthy") == 0
            assert clients.value(found, "sriov_resource_registrations_total", resource=RESOURCE) == 1
            assert clients.value(found, "sriov_resource_allocations_total", resource=RESOURCE, result="granted") == 2
            assert clients.value(found, "sriov_resource_allocations_total", resource=RESOURCE, result="refused") == 1
            config = tmp_path / "config.json"
            config.write_text("{")
            found = await until(lambda now: clients.value(now, "sriov_config_in_force") == 0)
            assert clients.value(found, "sriov_config_reloads_total", result="refused") == 1
            config.write_text(json.dumps({"resourceList": [{"resourceName": "other"}]}))
            found = await until(lambda now: clients.values(now, "sriov_resource_registered", resource=RESOURCE) == [])
            assert clients.value(found, "sriov_config_in_force") == 1
            assert clients.value(found, "sriov_config_reloads_total", result="applied") == 1
            assert not any(RESOURCE in dict(labels).values() for _, labels in found)
            process.terminate()
            assert (await test_process.told(process))[0] == 0
        await kubelet.stop()

    loops.run(body(), timeout=40)


def test_a_kubelet_that_is_away_is_a_failure_each_time() -> None:
    away = status.ResourceStatus("intel.com/a", 2, 1, registered=False, watched=0, failed_registrations=3)
    collector = monitoring.Metrics()
    collector.latest = status.Status("config.json", "", (away,))
    samples = {(each.name, *each.labels.values()): each.value for one in collector.collect() for each in one.samples}
    assert samples["sriov_resource_registration_failures_total", "intel.com/a"] == 3
    assert samples["sriov_resource_registered", "intel.com/a"] == 0
    assert samples["sriov_resource_devices", "intel.com/a", "unhealthy"] == 1
