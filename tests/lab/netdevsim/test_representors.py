"""Several netdevs on one function, as a card in switchdev mode has them: the uplink is told from the representors."""

import pathlib
import subprocess
import sys

from sriov import devices
from tests.fakes import netdevsim
from tests.kernel import namespaces

PROJECT = pathlib.Path(__file__).parents[3]
PF = devices.pci_address("0000:01:00.0")
LOOK = "import os, pathlib, sys; from sriov.hardware import sysfs; root, pf = pathlib.Path(sys.argv[1]), sys.argv[2]; "
LOOK += "print(len(os.listdir(root / 'bus/pci/devices' / pf / 'net')), sysfs.Tree(root).netdev_name(pf))"


def test_f22_the_uplink_is_told_from_the_representors_that_the_kernel_makes(tmp_path: pathlib.Path) -> None:
    """The card's own folder in sysfs stands where a PCI device would have it."""
    with namespaces.made("card") as home, netdevsim.inserted(home.handle, 4) as card:
        name = f"netdevsim{card.number}"
        place = tmp_path / "bus/pci/devices"
        place.mkdir(parents=True)
        (place / PF).symlink_to(netdevsim.BUS / "devices" / name)

        def run(*command: str) -> str:
            """In the card's namespace, with its sysfs."""
            inside = ["ip", "netns", "exec", home.name, *command]
            return subprocess.run(inside, cwd=PROJECT, check=True, capture_output=True, text=True).stdout

        run("devlink", "dev", "eswitch", "set", f"netdevsim/{name}", "mode", "switchdev")
        assert run(sys.executable, "-c", LOOK, str(tmp_path), PF).split() == ["5", card.pf.name]
