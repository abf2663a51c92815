"""The daemon is replaced while pods come and go: no call fails but with "try again later", and no VF is lost."""

import contextlib
import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from sriov import settings
from sriov.state import ledger
from tests.fakes import mock_node, supervisor
from tests.kernel import namespaces
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
PROJECT = pathlib.Path(__file__).parents[2]
CHURNING = 3
UPGRADES = 3
FORMER = {"mark", "rdma", "device", "ipam", "problem", "driver"}
"""Fields that the first records did not have."""

Running = Callable[[], AbstractContextManager["subprocess.Popen[str]"]]


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A mock node with a run directory; `command` starts a daemon there."""

    node: mock_node.MockNode
    run_dir: pathlib.Path
    vfs: list[str]

    @property
    def command(self) -> list[str]:
        options = ["--run-dir", str(self.run_dir), "--sysfs", str(self.node.sysfs_root)]
        program = [sys.executable, "-P", "-m", "tests.fakes.cni_daemon", str(self.node.folder), *options]
        return self.node.command("env", f"PYTHONPATH={PROJECT}", *program)

    def records(self) -> list[ledger.Record]:
        return list(ledger.Ledger(self.run_dir).records())

    def call(self, command: str, pod: namespaces.Namespace, vf: str, container: str) -> int:
        """As a runtime does that tries again when told to, and never otherwise."""
        client = harness.Client(self.run_dir / "cni.sock", "", pod.path)
        for _ in range(20):
            answer = client.call(command, harness.configuration(vf, vlan=7), CONTAINERID=container)
            if answer.code != 11:
                assert answer.code == 0, answer
                return answer.code
        raise AssertionError("told to try again 20 times")


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    (tmp_path / "node").mkdir()
    node = mock_node.MockNode(tmp_path / "node", pfs=1, vfs=CHURNING + 1)
    with contextlib.closing(node):
        yield Place(node, tmp_path / "run", sorted(node.state.read()))


@pytest.fixture(params=["supervised", "alone"])
def running(request: pytest.FixtureRequest, place: Place) -> Iterator[Running]:
    """Starts a daemon that serves once entered: with systemd's socket, or with its own."""
    if request.param == "supervised":
        with contextlib.closing(supervisor.Supervisor(place.run_dir / "cni.sock")) as keeper:
            yield lambda: keeper.running(place.command)
        return

    @contextlib.contextmanager
    def alone() -> Iterator["subprocess.Popen[str]"]:
        with subprocess.Popen(place.command, cwd=PROJECT, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    yield alone


def stop(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def churn(place: Place, number: int, done: threading.Event, failures: list[BaseException], pairs: list[int]) -> None:
    try:
        with namespaces.made("pod") as pod:
            while not done.is_set():
                place.call("ADD", pod, place.vfs[number], f"c{number}")
                place.call("DEL", pod, place.vfs[number], f"c{number}")
                pairs.append(number)
    except BaseException as error:  # a thread's failure is the test's
        failures.append(error)


@pytest.mark.slow
def test_upgrades_under_churn(place: Place, running: Running) -> None:
    done, failures, pairs = threading.Event(), list[BaseException](), list[int]()
    threads = [threading.Thread(target=churn, args=(place, each, done, failures, pairs)) for each in range(CHURNING)]
    with namespaces.made("steady") as steady:
        with running() as first:
            place.call("ADD", steady, place.vfs[-1], "steady")
            for thread in threads:
                thread.start()
            namespaces.until(lambda: len(pairs) > CHURNING)
            stop(first)
        for _ in range(UPGRADES):
            with running() as daemon:
                before = len(pairs)
                assert namespaces.until(lambda: len(pairs) > before + CHURNING or bool(failures), 60)  # noqa: B023
                assert failures == []
                stop(daemon)
        with running():
            done.set()
            for thread in threads:
                thread.join()
            [held] = place.records()
            assert held.owner.container_id == "steady"
            place.call("DEL", steady, place.vfs[-1], "steady")
    assert failures == []
    assert place.records() == []
    for vf in place.vfs:
        assert place.node.netdev(vf), f"{vf} is lost"
        assert place.node.vf_settings(vf) == settings.BASELINE


@pytest.mark.parametrize("change", ["older", "newer"])
def test_a_pod_outlives_the_daemon_of_another_version(place: Place, change: str) -> None:
    """An attachment as another version wrote it down ends with its DEL."""
    with (
        contextlib.closing(supervisor.Supervisor(place.run_dir / "cni.sock")) as keeper,
        namespaces.made("pod") as pod,
    ):
        home = place.node.netdev(place.vfs[0])
        with keeper.running(place.command) as first:
            place.call("ADD", pod, place.vfs[0], "c1")
            stop(first)
        path = place.run_dir / f"vfs/{place.vfs[0]}.json"
        record = json.loads(path.read_bytes())
        if change == "older":
            record = {key: value for key, value in record.items() if key not in FORMER}
        else:
            record |= {"version": ledger.FORMAT + 1, "wanted": "by reference", "netns": None}
        path.write_text(json.dumps(record))
        with keeper.running(place.command):
            other = harness.Client(place.run_dir / "cni.sock", "", pod.path)
            refused = other.call("ADD", harness.configuration(place.vfs[0]), CONTAINERID="c2", IFNAME="net2")
            assert (refused.code, "held by container c1" in refused.message) == (11, True)
            place.call("DEL", pod, place.vfs[0], "c1")
        now = place.node.netdev(place.vfs[0])
        assert home and now
        assert (now.name, now.address) == (home.name, home.address)
        assert place.node.vf_settings(place.vfs[0]) == settings.BASELINE
