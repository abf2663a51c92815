"""`hack/bench metrics`: a short run is whole. What it measures is nobody's failure here."""

import json
import pathlib
import subprocess

import pytest

from hack.benchmark import metrics
from hack.benchmark.kubelet import deviceplugin
from tests.examples import pages, table


@pytest.mark.bench
def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """As docs/metrics.md has it, but for the number of VFs."""
    [example] = table.run_by(__file__, "test_a_short_run")
    command = [*example.command.split(), "--small", "--json", str(tmp_path / "metrics.json")]
    subprocess.run(command, cwd=pages.ROOT, check=True)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["vfs"] == 32 * deviceplugin.PFS
    assert found["attached"] == metrics.ATTACHED
    assert found["cni_scrape_bytes"] > 8 * metrics.ATTACHED * len("sriov_vf_receive_bytes_total")
    assert found["deviceplugin_scrape_bytes"] > 1000
    assert found["cni_scrape_ms_p50"] > 0
    assert found["cni_loop_pause_ms_max"] > 0


def test_what_is_promised_is_what_is_measured_when_nobody_says_otherwise() -> None:
    assert (deviceplugin.PFS * deviceplugin.LARGE, metrics.ATTACHED) == (1024, 200)
