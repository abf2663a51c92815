"""`hack/bench metrics`: a short run is whole. What it measures is nobody's failure here."""

import pytest

from hack.benchmark import deviceplugin, metrics


@pytest.mark.bench
def test_a_short_run() -> None:
    found = {figure.key: figure for figure in metrics.measure(scrapes=2, vfs=32)}
    assert found["vfs"].value == 32 * deviceplugin.PFS
    assert found["attached"].value == metrics.ATTACHED
    assert found["cni_scrape_bytes"].value > 8 * metrics.ATTACHED * len("sriov_vf_receive_bytes_total")
    assert found["deviceplugin_scrape_bytes"].value > 1000
    assert found["cni_scrape_ms_p50"].value > 0
    assert found["cni_loop_pause_ms_max"].value > 0


def test_what_is_promised_is_what_is_measured_when_nobody_says_otherwise() -> None:
    assert (deviceplugin.PFS * deviceplugin.LARGE, metrics.ATTACHED) == (1024, 200)
