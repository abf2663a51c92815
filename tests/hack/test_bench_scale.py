"""`hack/bench scale`: a short run is whole, and says what it promises. What it measures is nobody's failure here."""

import json
import os
import pathlib
import subprocess

import pytest

from hack.benchmark import scale
from tests.examples import pages, table


@pytest.mark.lab
def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """As docs/performance.md has it, but for the rounds, the VFs and the attachments."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces and a guest")
    [example] = table.run_by(__file__, "test_a_short_run")
    program, *arguments = example.command.split()
    subprocess.run([pages.ROOT / program, *arguments, "--rounds", "1", "--small"], cwd=tmp_path, check=True)
    found = json.loads((tmp_path / "scale.json").read_text())
    assert found["add_3_over_2_vfs"] == found["add_ms_p50_3_vfs"] / found["add_ms_p50_2_vfs"]
    assert found["add_4_over_1_held"] == found["add_ms_p50_4_held"] / found["add_ms_p50_1_held"]
    assert found["daemon_rss_mb"] > 10
    assert "daemon_rss_growth_mb_10000" in found


def test_what_is_promised_is_what_is_measured_when_nobody_says_otherwise() -> None:
    assert (scale.VFS, scale.HELD, scale.PAIRS_A_ROUND * 100) == ((4, 64, 256), (1, 100, 1000), 10_000)
