"""`hack/bench scale`: a short run is whole, and says what it promises. What it measures is nobody's failure here."""

import os

import pytest

from hack.benchmark import scale


@pytest.mark.lab
def test_a_short_run() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces and a guest")
    found = {figure.key: figure.value for figure in scale.measure(1, (1, 2, 4), (2, 3))}
    assert found["add_3_over_2_vfs"] == found["add_ms_p50_3_vfs"] / found["add_ms_p50_2_vfs"]
    assert found["add_4_over_1_held"] == found["add_ms_p50_4_held"] / found["add_ms_p50_1_held"]
    assert found["daemon_rss_mb"] > 10
    assert "daemon_rss_growth_mb_10000" in found


def test_what_is_promised_is_what_is_measured_when_nobody_says_otherwise() -> None:
    assert (scale.VFS, scale.HELD, scale.PAIRS_A_ROUND * 100) == ((4, 64, 256), (1, 100, 1000), 10_000)
