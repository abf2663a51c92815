"""F59: what the daemon writes down about a call: its outcome, never what it was given."""

import contextvars
import json
import logging
import re

import pytest

from sriov import steps
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
    everything = {f" {step}" for step in steps.Step}
    assert set(taken("ADD")) == everything
    assert set(taken("DEL")) == everything - {" validate", " pod settings", " addresses"}


def test_steps_are_timed_for_those_who_ask_and_for_nobody_else(cni: CniNode, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert cni.client.call("ADD", cni.conf()).code == 0
    assert "'ADD c1 net1' in" in caplog.text
    assert "took" not in caplog.text


def test_a_step_that_comes_twice_is_added_up() -> None:
    asked = contextvars.copy_context().run(_two_moves_and_a_lock)
    assert re.fullmatch(r"move \d+\.\d ms, lock \d+\.\d ms", str(asked)), asked
    assert str(steps.Steps()) == "nothing"


def _two_moves_and_a_lock() -> steps.Steps:
    asked = steps.ask()
    for step in (steps.Step.MOVE, steps.Step.LOCK, steps.Step.MOVE):
        with steps.timed(step):
            pass
    return asked
