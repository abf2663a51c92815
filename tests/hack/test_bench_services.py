"""`hack/bench services`: a short run is whole. What it measures is nobody's failure here."""

import json
import pathlib
import subprocess

import pytest

from tests.examples import pages, table


@pytest.mark.bench
@pytest.mark.root
def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """As docs/services.md has it, but for the number of Services."""
    [example] = table.run_by(__file__, "test_a_short_run")
    command = [*example.command.split(), "--small", "--json", str(tmp_path / "services.json")]
    subprocess.run(command, cwd=pages.ROOT, check=True)
    found = json.loads((tmp_path / "services.json").read_text())
    assert found["services"] == 100
    assert found["kernel_mb"] > 6, "the array of backends alone"
    assert 0 < found["change_ms_p50"] <= found["change_ms_p99"]
    assert found["service_over_bare"] > 0.2
    assert 0.2 < found["bare_over_service_per_s"] < 5
    assert min(found[f"{way}_connections_per_s"] for way in ("bare", "service")) > 0
    for way in ("add", "services_add"):
        assert 0 < found[f"{way}_ms_p50"] <= found[f"{way}_ms_p99"]
    assert abs(found["services_add_more_cpu_ms_p50"]) < found["add_ms_p50"]
    assert 0 < found["effect_ms_p50"] <= found["effect_ms_p99"]
    assert 20 < found["agent_rss_mb"] <= found["agent_peak_mb"]
