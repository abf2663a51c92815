"""`hack/bench policy`: a short run is whole. What it measures is nobody's failure here."""

import json
import pathlib
import subprocess

import pytest

from tests.examples import pages, table


@pytest.mark.bench
@pytest.mark.root
def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """As docs/policy.md has it, but for the size of the cluster."""
    [example] = table.run_by(__file__, "test_a_short_run")
    command = [*example.command.split(), "--small", "--json", str(tmp_path / "policy.json")]
    subprocess.run(command, cwd=pages.ROOT, check=True)
    found = json.loads((tmp_path / "policy.json").read_text())
    for way in ("add", "unselected_add", "selected_add"):
        assert found[f"{way}_ms_p50"] > 0
    assert 0 < found["change_ms_p50"] < found["compile_ms"]
    assert 0 < found["in_force_ms_p50"] <= found["in_force_ms_p99"]
    assert found["look_ms_p50"] > 0
