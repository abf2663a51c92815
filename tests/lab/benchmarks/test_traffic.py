"""`hack/bench traffic`: a short run of all three ways is whole, and goes over the wire.

What it measures is nobody's failure here.
"""

import json
import os
import pathlib
import shlex
import subprocess

from hack.benchmark.traffic import ways
from sriovctl.traffic import comparing
from tests.examples import table

PROJECT = pathlib.Path(__file__).parents[3]
PREFIX = "hack/lab run --out traffic -- "


def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """As docs/performance.md has it, but for rounds and seconds."""
    [example] = table.run_by(__file__, "test_a_short_run")
    assert example.command.startswith(PREFIX)
    *shell, line = shlex.split(example.command.removeprefix(PREFIX))
    out = {**os.environ, "LAB_OUT": str(tmp_path)}
    done = subprocess.run(
        [*shell, f"{line} --small"], cwd=PROJECT, env=out, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "traffic.json").read_text())
    for way in ways.NAMES:
        assert all(found[f"{way}_{key}"] > 0 for key in comparing.NAMES if key != "lost_percent")
        assert 0 <= found[f"{way}_lost_percent"] <= 100
    assert "veth, bridge, VXLAN" in done.stdout
    assert (tmp_path / "traffic.png").read_bytes().startswith(b"\x89PNG")
