from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "hack" / "packages"


def run(*arguments: str, before: tuple[str, ...] = (), path: str = os.environ["PATH"]) -> tuple[int, str]:
    """The script comes in by stdin: another user may not be allowed to read this checkout."""
    command = [*before, "bash", "-s", "--", *arguments]
    script = PACKAGES.read_text()
    done = subprocess.run(
        command, input=script, env={"PATH": path}, capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_without_arguments_it_says_what_it_could_do() -> None:
    status, said = run()
    assert status == 1
    assert said.startswith("packages: say which packages, or --all for: iproute2 ")


def test_what_is_installed_is_left_alone_without_a_word() -> None:
    if shutil.which("dpkg-query") is None:
        pytest.skip("not Debian")
    assert run("dpkg", "bash") == (0, "")


def test_another_distribution_is_told_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "bash").symlink_to("/bin/bash")
    assert run("kmod", path=str(tmp_path)) == (1, "packages: this is not Debian; install by other means: kmod\n")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_is_told_what_root_would_run() -> None:
    if shutil.which("dpkg-query") is None:
        pytest.skip("not Debian")
    nobody = ("setpriv", "--reuid", "65534", "--clear-groups")
    said = "packages: only root can install no-such; run as root: apt-get install no-such\n"
    assert run("no-such", "bash", before=nobody) == (1, said)
