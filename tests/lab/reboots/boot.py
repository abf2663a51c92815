"""Run in a guest: one boot of a node whose disk is the shared folder. Says as JSON what VFs there are.

The guest's init is not systemd, so the unit's own ExecStart is run, as systemd would, and nothing else of it.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from sriov.provisioning import host, observe

ROOT = pathlib.Path(__file__).parents[3]
DISK = pathlib.Path(os.environ["LAB_OUT"])


def installed(programs: pathlib.Path) -> list[str]:
    """Lay out what is on the disk, and read the command from the unit there."""
    shutil.copytree(DISK / "etc", "/etc", dirs_exist_ok=True)
    programs.mkdir()
    program = programs / "sriovctl"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m sriovctl "$@"\n')
    program.chmod(0o755)
    unit = pathlib.Path("/etc/systemd/system/sriov-provision.service").read_text()
    [line] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    return shlex.split(line.replace("@PROGRAMS@", str(programs)))


def vfs() -> dict[str, list[object]]:
    made = host.made(pathlib.Path("/sys"), pathlib.Path("/proc"), pathlib.Path("/run/sriov"), dict)
    found = observe.observe(made.node)
    return {
        pf.pci: [
            [vf.binding.driver, vf.address, vf.mtu, vf.shown and vf.shown.trust, vf.declared and vf.declared.trust]
            for vf in pf.vfs
        ]
        for pf in found.pfs
    }


def main() -> None:
    command = installed(pathlib.Path("/run/programs"))
    before = vfs()
    runs = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2)]
    said = [[done.returncode, done.stdout, done.stderr] for done in runs]
    (DISK / "said.json").write_text(json.dumps({"before": before, "after": vfs(), "said": said}))


if __name__ == "__main__":
    main()
