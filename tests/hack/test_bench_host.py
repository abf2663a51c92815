"""`hack/bench host`: it measures each value, and the host has its own again, whatever happens."""

import json
import os
import pathlib
import subprocess

import pytest

from hack.benchmark import hostsettings
from hack.guest import errors
from tests.examples import pages, table


@pytest.mark.bench
def test_a_short_run_leaves_the_host_as_it_was(tmp_path: pathlib.Path) -> None:
    """As docs/performance.md has it, but for the rounds."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces and the setting")
    before = hostsettings.FIRST_FQS.read_text()
    [example] = table.run_by(__file__, "test_a_short_run_leaves_the_host_as_it_was")
    command = [*example.command.split(), "--rounds", "2", "--json", str(tmp_path / "host.json")]
    subprocess.run(command, cwd=pages.ROOT, check=True)
    found = json.loads((tmp_path / "host.json").read_text())
    assert found["move_fqs_0_over_1"] == found["move_ms_p50_fqs_0"] / found["move_ms_p50_fqs_1"]
    assert found["fqs_of_this_host"] == int(before)
    assert hostsettings.FIRST_FQS.read_text() == before


def test_the_setting_is_put_back_after_a_failure(tmp_path: pathlib.Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text("7")
    with pytest.raises(RuntimeError, match="midway"), hostsettings._put_back(setting):
        setting.write_text("0")
        raise RuntimeError("midway")
    assert setting.read_text() == "7"


def test_a_kernel_without_it_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.LabError, match=r"cannot change .*absent"):
        hostsettings.measure(1, tmp_path / "absent")
