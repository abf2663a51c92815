"""The unit that provisions at boot, and what keeps network managers off VFs: sound by systemd's own judgement."""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
UNIT = ROOT / "deploy/systemd/sriov-provision.service"


@pytest.fixture
def unit(tmp_path: pathlib.Path) -> pathlib.Path:
    """As it is installed, with a program that is there."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("@PROGRAMS@/sriovctl", "/bin/true"))
    return path


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")
def test_systemd_finds_it_sound_and_little_exposed(unit: pathlib.Path) -> None:
    subprocess.run(["systemd-analyze", "verify", unit], check=True)
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-300:]


def test_it_runs_before_whatever_gives_vfs_away() -> None:
    before = " ".join(re.findall(r"^Before=(.*)$", UNIT.read_text(), re.MULTILINE)).split()
    assert {"kubelet.service", "sriov-device-plugin.service", "sriov-cni.service", "network-pre.target"} == set(before)
