"""`hack/bench host-link`: a short run is whole. What it measures is nobody's failure here."""

import json
import pathlib
import subprocess

import pytest

from tests.examples import pages, table


@pytest.mark.bench
@pytest.mark.root
def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """As docs/host-link.md has it, but for the number of pods."""
    [example] = table.run_by(__file__, "test_a_short_run")
    command = [*example.command.split(), "--small", "--json", str(tmp_path / "host-link.json")]
    subprocess.run(command, cwd=pages.ROOT, check=True)
    found = json.loads((tmp_path / "host-link.json").read_text())
    for family in ("", "ipv6_", "both_"):
        add, linked = found[f"{family}add_ms_p50"], found[f"{family}add_with_host_link_ms_p50"]
        assert 0 < add <= found[f"{family}add_ms_p99"]
        assert found[f"{family}host_link_ratio_p50"] == pytest.approx(linked / add)
