"""Devlink information of a card, with the kernel's own simulator: read as the command of the page shows it."""

import contextlib
import json
import shlex
import subprocess

from sriov.linux import devlink, netns
from tests.examples import table
from tests.fakes import netdevsim
from tests.kernel import namespaces


def test_versions_are_what_the_pages_command_shows() -> None:
    [example] = table.run_by(__file__, "test_versions_are_what_the_pages_command_shows")
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(namespaces.made("card"))
        card = stack.enter_context(netdevsim.inserted(home.handle, 2))
        stack.enter_context(netns.entered(home.handle))
        asked = stack.enter_context(contextlib.closing(devlink.Devlink()))
        handle = f"netdevsim/netdevsim{card.number}"
        program, *arguments = shlex.split(example.command.replace("pci/ADDRESS", handle))
        shown = subprocess.run([program, "-j", *arguments], check=True, capture_output=True, text=True).stdout
        versions = json.loads(shown)["info"][handle]["versions"]["running"]
        assert asked.running("netdevsim", f"netdevsim{card.number}") == versions
        assert versions
