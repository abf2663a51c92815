"""The record of recent calls: what is in it, that it is bounded, and that nothing can make a call fail for it."""

import asyncio
import json
import pathlib

import pytest

from sriov.kubelet import podresources
from sriov.state import call_log
from sriov_cni import call_summary
from sriov_cni.shim import wire
from sriov_cni.spec import environment, netconf
from tests.fakes import pod_resources
from tests.sriov_cni.conftest import CniNode

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "net1",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
}
STDIN = b'{"name": "n1", "deviceID": "0000:01:10.0", "ipam": {"secret": "s3cret"}}'
FAILED = wire.answer(1, b'{"code": 7, "msg": "vlan id 5000 invalid", "details": "use a value from 0 to 4094"}')


def log_fields(env: dict[str, str]) -> dict[str, str]:
    return call_summary.log_fields(env, environment.arguments(env.get("CNI_ARGS", "")))


def note(made: call_log.Recent, env: dict[str, str], stdin: bytes, answer: bytes, seconds: float) -> None:
    outcome = call_summary.outcome(log_fields(env), netconf.decode(stdin), answer, seconds, 0)
    if outcome is not None:
        made.note(outcome)


def test_a_failed_call_is_kept_with_pod_device_and_reason(tmp_path: pathlib.Path) -> None:
    made = call_log.Recent(tmp_path)
    note(made, ENV, STDIN, FAILED, 0.0123)
    [kept] = made.read()
    assert (kept.namespace, kept.pod, kept.container_id, kept.ifname) == ("default", "web", "c1", "net1")
    assert (kept.network, kept.device, kept.ms) == ("n1", "0000:01:10.0", 12.3)
    assert (kept.code, kept.message, kept.details) == (7, "vlan id 5000 invalid", "use a value from 0 to 4094")
    text = (tmp_path / "recent.jsonl").read_text()
    assert "s3cret" not in text
    assert (tmp_path / "recent.jsonl").stat().st_mode & 0o077 == 0


def test_it_is_bounded_and_the_newest_are_kept(tmp_path: pathlib.Path) -> None:
    made = call_log.Recent(tmp_path, keep=3)
    for number in range(20):
        note(made, {**ENV, "CNI_CONTAINERID": f"c{number}"}, STDIN, FAILED, 0)
    kept = [each.container_id for each in made.read()]
    assert kept == [f"c{number}" for number in range(20 - len(kept), 20)]
    assert 3 <= len(kept) <= 6
    assert [each.container_id for each in call_log.Recent(tmp_path, keep=3).read()] == kept, "also after a restart"


@pytest.mark.parametrize("command", ["STATUS", "VERSION", "CHECK", ""])
def test_what_runtimes_ask_all_the_time_pushes_nothing_out(tmp_path: pathlib.Path, command: str) -> None:
    made = call_log.Recent(tmp_path)
    note(made, {**ENV, "CNI_COMMAND": command}, STDIN, wire.answer(0, b""), 0)
    assert made.read() == ()


def test_a_check_that_found_something_is_kept(tmp_path: pathlib.Path) -> None:
    made = call_log.Recent(tmp_path)
    note(made, {**ENV, "CNI_COMMAND": "CHECK"}, STDIN, FAILED, 0)
    assert [each.command for each in made.read()] == ["CHECK"]


def test_without_a_device_in_the_configuration_the_result_names_it() -> None:
    answer = wire.answer(0, json.dumps({"interfaces": [{"name": "net1", "pciID": "0000:01:10.2"}]}).encode())
    found = call_summary.outcome(log_fields(ENV), netconf.decode(b"{}"), answer, 0, 0)
    assert found is not None
    assert found.device == "0000:01:10.2"


@pytest.mark.parametrize("stdin", [b"", b"[", b'{"name": 7}', b"\xff", b"[" * 100000])
def test_no_input_makes_it_fail(tmp_path: pathlib.Path, stdin: bytes) -> None:
    made = call_log.Recent(tmp_path)
    note(made, {**ENV, "CNI_IFNAME": "\udcff"}, stdin, wire.answer(1, stdin), 0)
    note(made, ENV, stdin, wire.answer(1, stdin), 0)
    assert [each.ifname for each in made.read()] == ["net1"]


def test_a_full_disk_costs_a_call_nothing(tmp_path: pathlib.Path) -> None:
    made = call_log.Recent(tmp_path / "nowhere")
    note(made, ENV, STDIN, FAILED, 0)
    assert made.read() == ()


def test_a_line_that_was_cut_is_as_none(tmp_path: pathlib.Path) -> None:
    made = call_log.Recent(tmp_path)
    note(made, ENV, STDIN, FAILED, 0)
    with (tmp_path / "recent.jsonl").open("a") as file:
        file.write('{"at": 1, "comm')
    assert len(made.read()) == 1


def test_a_daemon_without_a_record_serves_as_well(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    assert not (cni.bench.node.tree.root.parent / "run/recent.jsonl").exists()


def test_every_pod_and_all_that_is_registered(tmp_path: pathlib.Path) -> None:
    api = pod_resources.PodResources({("default", "web"): [[("a/b", ["1", "2"])]], ("x", "none"): [[]]})
    api.known["a/b"] = ["1", "2", "3"]

    async def ask() -> tuple[object, object]:
        return await podresources.pods(tmp_path / "k.sock"), await podresources.allocatable(tmp_path / "k.sock")

    with pod_resources.serving(tmp_path / "k.sock", api):
        pods, known = asyncio.run(ask())
    web = podresources.Pod("default", "web", (podresources.Given("", "a/b", ("1", "2")),))
    assert pods == (web, podresources.Pod("x", "none"))
    assert known == {"a/b": ("1", "2", "3")}
