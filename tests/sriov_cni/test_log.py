"""F59: what the daemon writes down about a call: its outcome, never what it was given."""

import contextlib
import contextvars
import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from sriov import timing
from sriov.attachment import node
from sriov.daemon import logs
from sriov.state import ledger
from sriov_cni.context import steps
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode

GIVEN = "hunter2"
PLACES: list[dict[str, object]] = [
    {"args": {"cni": {"token": GIVEN}}},
    {"runtimeConfig": {"password": GIVEN}},
    {"apiToken": GIVEN},
    {"ipam": {"type": "fixed", "password": GIVEN}},
    {"ipam": {"type": "failing", "password": GIVEN}},
    {"prevResult": {"interfaces": [{"name": "eth0", "token": GIVEN}]}},
    {"vlan": 5000, "apiToken": GIVEN},
    {"vlan": "five", "apiToken": GIVEN},
]


@pytest.mark.parametrize("command", ["ADD", "CHECK", "GC", "STATUS", "DEL"])
def test_f59_no_log_has_what_a_configuration_says(cni: CniNode, caplog: pytest.LogCaptureFixture, command: str) -> None:
    caplog.set_level(logging.DEBUG)
    harness.ipam_plugin(cni.plugins, "failing", 'echo \'{"code": 5, "msg": "no"}\'; exit 1')
    for keys in PLACES:
        stdin = json.dumps(cni.conf(**keys)).encode()
        for data in (stdin, stdin[:-1], stdin + b"]"):
            cni.client.call(command, data, ARGS=f"IgnoreUnknown=1;PASSWORD={GIVEN}")
    logged = caplog.text
    assert f"'{command} c1 net1'" in logged, "the outcome is there"
    assert GIVEN not in logged


@pytest.mark.parametrize("how", list(logs.Format))
def test_nothing_secret_is_in_what_is_written_in_either_format(cni: CniNode, how: logs.Format) -> None:
    """Also of arguments that cannot be read, and of a failure nobody foresaw."""
    with written(how) as lines:
        for args in (f"IgnoreUnknown=1;PASSWORD={GIVEN}", f"PASSWORD={GIVEN}==", f"MAC=x;{GIVEN}", f"PASSWORD={GIVEN}"):
            for command in ("ADD", "DEL"):
                cni.client.call(command, cni.conf(apiToken=GIVEN, args={"cni": {"token": GIVEN}}), ARGS=args)
    logged = lines.getvalue()
    assert "ADD c1 net1" in logged
    assert GIVEN not in logged


def test_each_line_of_an_attachment_says_whose_it_is(cni: CniNode) -> None:
    args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=db-0;K8S_POD_INFRA_CONTAINER_ID=c1"
    whose = {"namespace": "blue", "pod": "db-0", "container_id": "c1", "interface": "net1", "vf": cni.vf}
    network = cni.conf(ipam={"type": "fixed"}, vlanTypo=3, logLevel="info")
    with written(logs.Format.JSON) as lines:
        added = cni.client.call("ADD", network, ARGS=args)
        for command in ("CHECK", "DEL"):
            assert cni.client.call(command, {**network, "prevResult": added.document}, ARGS=args).code == 0
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    [shown] = re.findall(r"```json\n(.*?)```", (harness.PROJECT / "docs/metrics.md").read_text(), re.DOTALL)
    assert [each.keys() for each in told if "done" in each["message"]] == [json.loads(shown).keys()] * 3
    for command in ("ADD", "CHECK", "DEL"):
        mine = [each for each in told if each.get("command") == command]
        assert any("in " in each["message"] and "done" in each["message"] for each in mine)
        for each in mine:
            assert {key: each.get(key) for key in whose} == whose, each
            assert each["duration_ms"] > 0
    assert any("vlanTypo" in each["message"] and each["pod"] == "db-0" for each in told)
    assert not any("logLevel" in each["message"] for each in told), "sriov-network-operator writes it into each network"


@contextlib.contextmanager
def written(how: logs.Format) -> Iterator[io.StringIO]:
    """What the daemon writes, in that format, at debug."""
    stream, root = io.StringIO(), logging.getLogger()
    handler, before = logs.handler(stream, how), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def test_the_debug_log_says_what_each_step_took(cni: CniNode, caplog: pytest.LogCaptureFixture) -> None:
    def taken(command: str) -> list[str]:
        [told] = [
            record.getMessage() for record in caplog.records if f"'{command} c1 net1' took" in record.getMessage()
        ]
        return re.findall(r"([\w ]+) \d+\.\d ms", told.partition(" took")[2])

    caplog.set_level(logging.DEBUG)
    network = cni.conf(mac="02:00:00:00:cc:01", ipam={"type": "fixed"})
    assert cni.client.call("ADD", network).code == 0
    assert cni.client.call("DEL", network).code == 0
    both = {" lock", " ledger", " PF settings", " move", " IPAM", " answer"}
    assert set(taken("ADD")) == both | {" validate", " pod settings", " addresses"}
    assert set(taken("DEL")) == both | {" comparison"}


def test_steps_are_timed_for_those_who_ask_and_for_nobody_else(cni: CniNode, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert cni.client.call("ADD", cni.conf()).code == 0
    assert "'ADD c1 net1' in" in caplog.text
    assert "took" not in caplog.text


def test_a_step_that_comes_twice_is_added_up() -> None:
    asked = contextvars.copy_context().run(_two_moves_and_a_lock)
    assert re.fullmatch(r"move \d+\.\d ms, lock \d+\.\d ms", str(asked)), asked
    assert str(timing.Steps()) == "nothing"


def test_steps_of_different_owners_are_told_apart() -> None:
    """Each has a metric's label of its own, and words of its own in the log."""
    every: list[timing.Step] = [*steps.CallStep, *node.AttachmentStep, *ledger.LedgerStep]
    assert len({each.name for each in every}) == len({str(each) for each in every}) == len(every)


def _two_moves_and_a_lock() -> timing.Steps:
    asked = timing.ask()
    for step in (node.AttachmentStep.MOVE, steps.CallStep.LOCK, node.AttachmentStep.MOVE):
        with timing.timed(step):
            pass
    return asked
