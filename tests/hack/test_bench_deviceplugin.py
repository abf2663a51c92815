"""`hack/bench deviceplugin`: a short run is whole. What it measures is nobody's failure here."""

import json
import pathlib
import subprocess

import pytest

from hack.benchmark.kubelet import deviceplugin
from tests.examples import pages, table


@pytest.mark.bench
def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """As the pages have it, but for the number of VFs."""
    [command] = {each.command for each in table.run_by(__file__, "test_a_short_run")}
    short = [*command.split(), "--small", "--json", str(tmp_path / "figures.json")]
    subprocess.run(short, cwd=pages.ROOT, check=True)
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["vfs"] == 32 * deviceplugin.PFS
    assert all(value > 0 for key, value in found.items() if not key.startswith("load"))
