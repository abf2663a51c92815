"""`hack/bench dra`: a short run is whole. What it measures is nobody's failure here."""

import json
import pathlib
import subprocess

import pytest

from tests.examples import pages, table


@pytest.mark.bench
@pytest.mark.slow
def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """As docs/dra.md has it, but for the number of VFs."""
    [example] = table.run_by(__file__, "test_a_short_run")
    command = [*example.command.split(), "--small", "--json", str(tmp_path / "dra.json")]
    subprocess.run(command, cwd=pages.ROOT, check=True, capture_output=True, timeout=300)
    found = json.loads((tmp_path / "dra.json").read_text())
    assert found["writes_at_a_restart"] == 0
    assert {"build_and_encode_70_vfs_ms", "prepare_beyond_its_get_ms_p99", "link_down_to_taint_ms"} <= set(found)
    assert {"passed_through_ms_p50", "passed_through_ms_p99"} <= set(found)
