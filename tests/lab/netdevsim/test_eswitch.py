"""A card's switch by devlink, with the kernel's own simulator: its mode is told, and changed."""

import contextlib

import pytest

from sriov import devices, errors
from sriov.linux import eswitch, netns
from tests.fakes import netdevsim
from tests.kernel import namespaces


def test_the_mode_is_told_and_changed() -> None:
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(namespaces.made("card"))
        card = stack.enter_context(netdevsim.inserted(home.handle, 2))
        stack.enter_context(netns.entered(home.handle))
        asked = stack.enter_context(contextlib.closing(eswitch.Eswitch()))
        name = f"netdevsim{card.number}"
        for mode in (devices.EswitchMode.SWITCHDEV, devices.EswitchMode.LEGACY):
            asked.set_mode("netdevsim", name, mode)
            assert asked.mode("netdevsim", name) is mode


def test_a_card_without_a_switch_says_so() -> None:
    with contextlib.closing(eswitch.Eswitch()) as asked:
        assert asked.mode("pci", "ffff:ff:1f.7") is None
        with pytest.raises(errors.KernelError, match=r"set the eswitch mode of pci/ffff:ff:1f.7 to switchdev"):
            asked.set_mode("pci", "ffff:ff:1f.7", devices.EswitchMode.SWITCHDEV)
