"""devlink of the real kernel: igb has no instance there, which is no failure and takes no capability to find out."""

import contextlib
import pathlib
import subprocess
import sys

import pytest

from sriov import devices
from sriov.linux import devlink
from tests.lab import igb

PROJECT = pathlib.Path(__file__).parents[2]
ASK = f"""
import contextlib
from sriov import devices
from sriov.linux import devlink
with contextlib.closing(devlink.Devlink()) as asked:
    print(asked.ddp_profile(devices.pci_address("{igb.PF0}")))
"""


@pytest.mark.parametrize("pci", [igb.PF0, devices.pci_address("ffff:ff:1f.7")])
def test_a_nic_without_an_instance_has_no_versions_and_no_profile(pci: devices.PciAddress) -> None:
    with contextlib.closing(devlink.Devlink()) as asked:
        assert asked.running("pci", pci) == {}
        assert asked.ddp_profile(pci) is None


def test_no_capability_is_needed() -> None:
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-P", "-c", ASK]
    done = subprocess.run(without, env={"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("None\n", 0), done.stderr
