"""F59: what the daemon writes down about a call: its outcome, never what it was given."""

import json
import logging

import pytest

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
