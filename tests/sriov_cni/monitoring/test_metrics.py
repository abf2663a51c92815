"""The CNI daemon's metrics, as a scrape finds them."""

import asyncio
import contextlib
import dataclasses
import errno
import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from sriov import errors, timing
from sriov.cluster import policies
from sriov.daemon import http_address
from sriov.state import ledger
from sriov_cni.commands import repair
from sriov_cni.context import calls, policy
from sriov_cni.dataplane.policies import policy_enforcer
from sriov_cni.monitoring import attached_vfs, counters, endpoint
from tests.deviceplugin import loops
from tests.fakes import bench, policy_source
from tests.sriov.daemon import clients
from tests.sriov_cni import conftest, harness

ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=db-0"


class Traffic:
    """What goes through VFs: `of` is what would be read, None for a namespace that cannot be looked into."""

    def __init__(self) -> None:
        self.bytes = 1000
        self.readable = True

    def of(self, record: ledger.Record) -> counters.Counters | None:
        if not self.readable:
            return None
        received = counters.Direction(self.bytes, 10, 1, 2)
        return counters.Counters(received, counters.Direction(self.bytes * 2, 20, 3, 4))


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """A node whose daemon is asked for metrics."""

    bench: bench.Bench
    client: harness.Client
    plugins: pathlib.Path
    where: http_address.Address
    traffic: Traffic

    def conf(self, **keys: object) -> dict[str, object]:
        return harness.configuration(self.bench.vfs[0], **keys)

    def scrape(self) -> clients.Samples:
        return asyncio.run(clients.scrape(self.where))

    def until(self, met: Callable[[clients.Samples], bool]) -> clients.Samples:
        """Scrape until it is so: counters are looked at now and then."""
        deadline = time.monotonic() + 10
        while not met(found := self.scrape()):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found


@pytest.fixture
def watched(tmp_path: pathlib.Path) -> Iterator[Watched]:
    made = bench.make(tmp_path)
    plugins = tmp_path / "plugins"
    harness.ipam_plugin(plugins, "fixed", f"[ $CNI_COMMAND != ADD ] || echo '{conftest.IPAM}'")
    harness.ipam_plugin(plugins, "failing", 'echo \'{"code": 54321, "msg": "no"}\'; exit 1')
    where, traffic = http_address.Unix(tmp_path / "http.sock"), Traffic()
    monitor = endpoint.DaemonMonitor(where, 0.02, traffic.of)
    with harness.daemon(made.node, made.book, tmp_path / "cni.sock", made.machine.adopt, monitor):
        client = harness.Client(tmp_path / "cni.sock", str(plugins), made.machine.path("pod"))
        yield Watched(made, client, plugins, where, traffic)
    made.pod.close()
    made.machine.close()


def test_calls_are_counted_by_command_and_code(watched: Watched) -> None:
    add = watched.conf(ipam={"type": "fixed"})
    assert watched.client.call("ADD", add, ARGS=ARGS).code == 0
    assert watched.client.call("DEL", add, ARGS=ARGS).code == 0
    assert watched.client.call("ADD", watched.conf(vlan=5000)).code == 7
    assert watched.client.call("ADD", watched.conf(vlan=5000)).code == 7
    assert watched.client.call("ADD", watched.conf(ipam={"type": "failing"})).code == 54321
    for word in ("FETCH", "x" * 1000, 'a"\n'):
        assert watched.client.call(word, add).code == 4
    found = watched.until(lambda now: clients.values(now, "sriov_cni_calls_total", command="unknown", code="4") == [3])
    for command, code, count in (("ADD", "0", 1), ("DEL", "0", 1), ("ADD", "7", 2), ("ADD", "plugin", 1)):
        assert clients.value(found, "sriov_cni_calls_total", command=command, code=code) == count
    assert clients.value(found, "sriov_cni_call_duration_seconds_count", command="ADD") == 4


def test_each_step_of_an_add_is_in_the_histogram(watched: Watched) -> None:
    network = watched.conf(mac="02:00:00:00:cc:01", ipam={"type": "fixed"})
    assert watched.client.call("ADD", network).code == 0
    found = watched.until(lambda now: bool(clients.values(now, "sriov_cni_step_duration_seconds_count")))
    steps = ("validate", "lock", "ledger", "pf", "move", "pod", "ipam", "addresses", "answer")  # `compare` is a DEL's
    for step in steps:
        labels = {"command": "ADD", "step": step}
        assert clients.value(found, "sriov_cni_step_duration_seconds_count", **labels) == 1
        assert clients.value(found, "sriov_cni_step_duration_seconds_bucket", le="+Inf", **labels) == 1
    whole = clients.value(found, "sriov_cni_call_duration_seconds_sum", command="ADD")
    assert 0 < clients.value(found, "sriov_cni_step_duration_seconds_sum", command="ADD", step="ipam") < whole


def test_a_vf_has_its_pods_name_while_the_pod_has_it_and_no_longer(watched: Watched) -> None:
    watched.client.call("ADD", watched.conf(), ARGS=ARGS)
    whose = {"pf": "enp1s0", "vf": "0", "pci": watched.bench.vfs[0], "interface": "net1"}
    whose |= {"namespace": "blue", "pod": "db-0"}
    found = watched.until(lambda now: clients.values(now, "sriov_vf_attached", **whose) == [1])
    expected = {"bytes": (1000, 2000), "packets": (10, 20), "errors": (1, 3), "dropped": (2, 4)}
    for name, (received, sent) in expected.items():
        assert clients.value(found, f"sriov_vf_receive_{name}_total", **whose) == received
        assert clients.value(found, f"sriov_vf_transmit_{name}_total", **whose) == sent
    watched.traffic.bytes = 5000
    watched.until(lambda now: clients.value(now, "sriov_vf_receive_bytes_total", **whose) == 5000)
    watched.client.call("DEL", watched.conf(), ARGS=ARGS)
    gone = watched.until(lambda now: not clients.values(now, "sriov_vf_attached"))
    assert not any("db-0" in dict(labels).values() for _, labels in gone)


def test_a_namespace_that_cannot_be_looked_into_is_said_and_makes_no_zeros(watched: Watched) -> None:
    watched.traffic.readable = False
    watched.client.call("ADD", watched.conf(), ARGS=ARGS)
    found = watched.until(lambda now: clients.value(now, "sriov_vf_counters_unreadable") == 1)
    assert clients.value(found, "sriov_vf_attached", pod="db-0") == 1
    assert clients.values(found, "sriov_vf_receive_bytes_total") == []
    assert clients.value(found, "sriov_vf_look_timestamp_seconds") == pytest.approx(time.time(), abs=60)


def test_neither_a_scrape_nor_a_look_makes_a_netlink_request(watched: Watched) -> None:
    watched.client.call("ADD", watched.conf(), ARGS=ARGS)
    watched.until(lambda now: bool(clients.values(now, "sriov_vf_attached")))
    made = len(watched.bench.machine.requests)
    assert made > 0, "an ADD makes some, so that they are counted"
    looked = clients.value(watched.scrape(), "sriov_vf_look_timestamp_seconds")
    for _ in range(5):
        asyncio.run(clients.get(watched.where, "/readyz"))
        asyncio.run(clients.get(watched.where, "/healthz"))
        watched.scrape()
    watched.until(lambda now: clients.value(now, "sriov_vf_look_timestamp_seconds") > looked)
    assert len(watched.bench.machine.requests) == made


def test_a_scrape_while_pods_come_and_go_is_whole(watched: Watched) -> None:
    """Every scrape parses, with a series a VF for each of the families."""

    async def scrapes(stop: asyncio.Event) -> int:
        count = 0
        while not stop.is_set():
            found = await clients.scrape(watched.where)
            held = clients.values(found, "sriov_vf_attached")
            assert len(clients.values(found, "sriov_vf_receive_bytes_total")) == len(held)
            count += 1
        return count

    async def body() -> None:
        stop = asyncio.Event()
        scraping = asyncio.create_task(scrapes(stop))
        for _ in range(5):
            for command in ("ADD", "DEL"):
                answer = await asyncio.to_thread(watched.client.call, command, watched.conf(), ARGS=ARGS)
                assert answer.code == 0
        stop.set()
        assert await scraping > 5

    loops.run(body())


def test_a_pods_name_is_cut_where_it_is_no_name(watched: Watched) -> None:
    watched.client.call("ADD", watched.conf(), ARGS=f'IgnoreUnknown=1;K8S_POD_NAME={"p" * 5000}"\\')
    watched.until(lambda now: clients.values(now, "sriov_vf_attached", pod="p" * 253) == [1])


def test_a_daemon_is_not_ready_while_nothing_enforces_a_network_policy(tmp_path: pathlib.Path) -> None:
    made, where = bench.make(tmp_path), http_address.Unix(tmp_path / "http.sock")
    source = policy_source.TableSource(policies.PolicyTable(rules={("x", "free", ""): policies.Rules()}))
    enforcer = policy_enforcer.Enforcer(made.node.kernel)
    made.machine.node.set_driver(made.vfs[0], "vfio-pci")
    made.machine.node.set_netdev(made.vfs[0])
    monitor = endpoint.DaemonMonitor(where, 0.02, Traffic().of)
    further: dict[str, Any] = {"policies": source, "enforcement": enforcer}
    with harness.daemon(made.node, made.book, tmp_path / "cni.sock", made.machine.adopt, monitor, **further):
        client = harness.Client(tmp_path / "cni.sock", "", made.machine.path("pod"))
        network = harness.configuration(made.vfs[0], policy="kubernetes")
        who = "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME=free"
        assert client.call("ADD", network, ARGS=who).code == 0
        for rules, code, said in (
            (policies.Rules(), 200, "ok"),
            (policies.Rules((), None), 503, "policies of x/free (net1) are not in force: the kernel sees no packet"),
        ):
            source.put(policies.PolicyTable(rules={("x", "free", ""): rules}))
            enforcer.bring_all(source.rules_of, look=False)
            answer = asyncio.run(clients.get(where, "/readyz"))
            assert (answer[0], said in answer[1]) == (code, True), answer
        assert client.call("DEL", network, ARGS=who).code == 0
        assert asyncio.run(clients.get(where, "/readyz")) == (200, "ok\n")
    made.pod.close()
    made.machine.close()


def test_a_policy_that_turns_bad_is_said_and_the_last_good_one_judges(tmp_path: pathlib.Path) -> None:
    """Until the daemon starts again: then there is no last good one."""
    made, where, path = bench.make(tmp_path), http_address.Unix(tmp_path / "http.sock"), tmp_path / "policy.json"
    client = harness.Client(tmp_path / "cni.sock", "", made.machine.path("pod"))
    network = functools.partial(harness.configuration, made.vfs[0])
    path.write_text('{"rules": [{"vlans": ["100"]}]}')

    def started() -> contextlib.AbstractContextManager[None]:
        monitor, guard = endpoint.DaemonMonitor(where, 0.02, Traffic().of), policy.Guard(path)
        return harness.daemon(made.node, made.book, client.socket, made.machine.adopt, monitor, guard=guard)

    def in_force() -> tuple[float, int, str]:
        metric = clients.value(asyncio.run(clients.scrape(where)), "sriov_cni_policy_in_force")
        return (metric, *asyncio.run(clients.get(where, "/readyz")))

    with started():
        assert in_force() == (1, 200, "ok\n")
        path.write_text('{"rules": [{"vlan": ["100"]}]}')
        metric, code, said = in_force()
        assert (metric, code) == (0, 503)
        assert "unknown field `vlan`" in said
        assert said.endswith("; the last good one stays in force\n")
        assert client.call("ADD", network(vlan=200)).code == 7
        assert client.call("ADD", network(vlan=100)).code == 0
        assert client.call("DEL", network(vlan=100)).code == 0
    with started():
        assert client.call("ADD", network(vlan=100)).code == 7
        assert in_force()[2].endswith("; every ADD is refused\n")
        path.write_text('{"rules": [{"vlans": ["100"]}]}')
        assert client.call("ADD", network(vlan=100)).code == 0
        assert in_force() == (1, 200, "ok\n")
        assert client.call("DEL", network(vlan=100)).code == 0
    made.pod.close()
    made.machine.close()


class Counted:
    def __init__(self) -> None:
        self.repairs: list[bool] = []
        self.policies = self.failing = 0

    def call(self, command: str, code: int, seconds: float, taken: timing.Steps) -> None:
        raise AssertionError(command)

    def chose(self, mode: str) -> None:
        """Nobody asks for it here."""

    def repaired(self, *, restored: bool) -> None:
        self.repairs.append(restored)

    def policies_repaired(self, count: int) -> None:
        self.policies += count

    def policies_failing(self, count: int) -> None:
        self.failing = count


def test_repairs_are_counted_also_those_that_fail(tmp_path: pathlib.Path) -> None:
    made, counted = bench.make(tmp_path), Counted()
    daemon = calls.Daemon(made.node, made.book, meter=counted)
    made.attach(made.request())
    made.machine.destroy("pod")

    async def body() -> None:
        made.machine.fail_at(1, errno.EPERM)
        await repair.repair(daemon)
        await repair.repair(daemon)
        await repair.repair(daemon)

    loops.run(body())
    assert counted.repairs == [False, True]


def test_requests_that_are_made_again_are_counted_for_who_asks(tmp_path: pathlib.Path) -> None:
    here = msgspec.structs.replace(bench.make(tmp_path).node, patience=60)
    refusals = [errno.EBUSY, errno.EAGAIN]

    def busy() -> str:
        if refusals:
            raise errors.KernelError("set VF", refusals.pop())
        return "done"

    asked = timing.ask()
    assert here.insist(busy) == "done"
    assert asked.retries == 2


def test_a_look_finds_vfs_that_went_away_and_those_without_a_netdev(tmp_path: pathlib.Path) -> None:
    made = bench.make(tmp_path)
    made.attach(made.request())
    record = made.book.read(made.vfs[0])
    assert record is not None
    made.book.write(msgspec.structs.replace(record, pci="0000:99:00.0"))
    watcher = attached_vfs.Watcher(made.node, made.book, Traffic().of)
    assert watcher.latest.at == 0
    found = {one.record.pci: (one.pf, one.vf, one.counters is None) for one in watcher.look().holdings}
    assert found == {made.vfs[0]: ("enp1s0", "0", False), "0000:99:00.0": ("", "", True)}
