"""The release stands in one place, and every program reads it there."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = {
    "deviceplugin": "sriov-device-plugin (sriov-underlay)",
    "sriov_installer": "sriov-underlay",
    "sriov_agent": "sriov-agent (sriov-underlay)",
    "sriov_cni": "sriov-cni-daemon (sriov-underlay)",
    "sriov_dra": "sriov-dra-driver (sriov-underlay)",
    "sriovctl": "sriovctl (sriov-underlay)",
}
"""By module, the name of the program, and of the package where that is another."""


def say(folder: pathlib.Path, *arguments: str) -> str:
    """What Python prints where only `folder` and this checkout have what is not its own."""
    env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    run = [sys.executable, *arguments]
    return subprocess.run(run, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_its_version(tmp_path: pathlib.Path, program: str) -> None:
    named = PROGRAMS[program]
    assert say(tmp_path, "-m", program, "--version").startswith(f"{named} unknown, run from the sources")
    release(tmp_path)
    assert say(tmp_path, "-m", program, "--version") == f"{named} 9.8.7\n"


@pytest.mark.parametrize("program", ["sriov_installer", "sriovctl"])
def test_a_program_with_commands_has_one_for_it(tmp_path: pathlib.Path, program: str) -> None:
    release(tmp_path)
    assert say(tmp_path, "-m", program, "version") == f"{PROGRAMS[program]} 9.8.7\n"


def test_what_is_installed_and_what_is_scraped_have_it_too(tmp_path: pathlib.Path) -> None:
    release(tmp_path)
    code = "from sriov.daemon import process_metrics as own; from sriov_installer import marks; print(marks.version())"
    code += "; print(own.registry('x').get_sample_value('sriov_build_info', {'program': 'x', 'version': '9.8.7'}))"
    assert say(tmp_path, "-W", "ignore", "-c", code) == "9.8.7\n1.0\n"


def release(folder: pathlib.Path) -> None:
    """As pip notes that a distribution is installed."""
    note = folder / "sriov_underlay-9.8.7.dist-info/METADATA"
    note.parent.mkdir()
    note.write_text("Metadata-Version: 2.1\nName: sriov-underlay\nVersion: 9.8.7\n")
