"""`hack/bench host`: it measures each value, and the host has its own again, whatever happens."""

import os
import pathlib

import pytest

from hack.benchmark import hostsettings
from hack.guest import errors


@pytest.mark.bench
def test_a_short_run_leaves_the_host_as_it_was() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces and the setting")
    before = hostsettings.FIRST_FQS.read_text()
    found = {figure.key: figure.value for figure in hostsettings.measure(2)}
    assert found["move_fqs_0_over_1"] == found["move_ms_p50_fqs_0"] / found["move_ms_p50_fqs_1"]
    assert found["fqs_of_this_host"] == int(before)
    assert hostsettings.FIRST_FQS.read_text() == before


def test_the_setting_is_put_back_after_a_failure(tmp_path: pathlib.Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text("7")
    with pytest.raises(RuntimeError, match="midway"), hostsettings._put_back(setting):
        setting.write_text("0")
        raise RuntimeError("midway")
    assert setting.read_text() == "7"


def test_a_kernel_without_it_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.LabError, match=r"cannot change .*absent"):
        hostsettings.measure(1, tmp_path / "absent")
