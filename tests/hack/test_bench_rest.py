"""`hack/bench rest`: a short run is whole. What it measures is nobody's failure here."""

import json
import os
import pathlib
import subprocess

import pytest

from tests.examples import pages, table


@pytest.mark.bench
def test_a_short_run_beside_another_checkout(tmp_path: pathlib.Path) -> None:
    """As docs/performance.md has it; the other checkout is this one."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for the CNI daemon")
    [example] = table.run_by(__file__, "test_a_short_run_beside_another_checkout")
    short = [*example.command.split()[:-1], str(pages.ROOT), "--small", "--json", str(tmp_path / "rest.json")]
    subprocess.run(short, cwd=pages.ROOT, check=True)
    found = json.loads((tmp_path / "rest.json").read_text())
    names = [f"{mark}{daemon}" for mark in ("", "before_") for daemon in ("deviceplugin", "cni")]
    assert set(found) == {f"{name}_{what}" for name in names for what in ("pss_mb", "wakeups_per_s")}
    assert all(10 < found[f"{name}_pss_mb"] < 100 for name in names)
