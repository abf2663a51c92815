"""VFs are there again after a reboot: two boots of a guest whose PFs have none, with the same disk.

The disk is a folder of this machine that holds the file and the unit. The guest's init is not systemd: the unit's
ExecStart is run. What systemd makes of the unit is in tests/sriov_installer/test_units.py.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parents[3]
PFS = ("0000:01:00.0", "0000:02:00.0")
FILE = """
policies:
- name: rails
  selector: {vendors: [8086], devices: [10c9], drivers: [igb]}
  numVfs: 7
  driver: default
  mtu: 2000
  trust: true
  macRange: {first: 02:00:00:00:01:00, last: 02:00:00:00:01:0d}
"""


def booted(disk: pathlib.Path) -> dict[str, Any]:
    """One boot, from power on to power off; nothing but the disk is left of it."""
    command = [sys.executable, "-P", "-m", "tests.lab.reboots.boot"]
    size = ["--cpus", "1", "--numvfs", "0"]
    lab = [str(ROOT / "hack/lab"), "run", "--quiet", *size, "--out", str(disk), "--env", f"PYTHONPATH={ROOT}"]
    done = subprocess.run([*lab, "--", *command], capture_output=True, text=True, check=False)
    if done.returncode == os.EX_UNAVAILABLE and os.environ.get("CI") != "true":
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    path = disk / "said.json"
    said: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    return said


def test_two_times_seven_vfs_are_there_again_after_a_reboot(tmp_path: pathlib.Path) -> None:
    disk = tmp_path / "disk"
    (disk / "etc/sriov-underlay").mkdir(parents=True)
    (disk / "etc/sriov-underlay/provision.yaml").write_text(FILE)
    (disk / "etc/systemd/system").mkdir(parents=True)
    shutil.copy(ROOT / "deploy/systemd/sriov-provision.service", disk / "etc/systemd/system")
    addresses = [f"02:00:00:00:01:{number:02x}" for number in range(14)]
    expected = {pf: [["igbvf", addresses.pop(0), 2000, True, True] for _ in range(7)] for pf in PFS}
    for _ in range(2):
        said = booted(disk)
        assert said["before"] == {pf: [] for pf in PFS}
        assert said["after"] == expected, said["said"]
        (first, table, _), (second, nothing, why) = said["said"]
        assert (first, second, nothing) == (0, 0, ""), said["said"]
        assert "numVfs" in table
        assert why == "nothing to do: the node is as the file declares\n"
