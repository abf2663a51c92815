"""`hack/bench attach --igb`: a short run on the guest's own VFs is whole. What it measures is nobody's failure here."""

import json
import pathlib
import shlex
import subprocess

import pytest

from tests.examples import table

PROJECT = pathlib.Path(__file__).parents[3]
PREFIX = "hack/lab run -- "


@pytest.mark.usefixtures("compared")
def test_a_short_run_on_real_vfs(tmp_path: pathlib.Path) -> None:
    [example] = table.run_by(__file__, "test_a_short_run_on_real_vfs")
    assert example.command.startswith(PREFIX)
    line = [*shlex.split(example.command.removeprefix(PREFIX)), "--rounds", "3", "--json", str(tmp_path / "json")]
    done = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "json").read_text())
    assert found["rounds"] == 3
    assert found["add_p50_ratio_native"] > 0
    assert found["del_vlan_over_floor"] > 1
    assert "sriov, native shim, 14 ADDs at once" in done.stdout
