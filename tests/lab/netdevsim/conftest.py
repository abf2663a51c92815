"""Tests of this folder need netdevsim. In the guest it is loaded because they are selected; where this machine's own
kernel has it, they run right here.
"""

import os
import pathlib
import subprocess
import sys

import pytest

from hack.guest import errors, progress
from hack.guest.downloads import cache, netdevsim
from tests.fakes import netdevsim as cards
from tests.lab import relay

IN_GUEST = os.environ.get("SRIOV_LAB") == "guest"
_WHY_NOT = "LAB_NO_NETDEVSIM"
_LOADED_BY_US = pytest.StashKey[bool]()


def pytest_collection_finish(session: pytest.Session) -> None:
    ours = [item for item in session.items if pathlib.Path(__file__).parent in item.path.parents]
    if not ours or IN_GUEST or os.geteuid() != 0 or session.config.option.collectonly:
        return
    if cards.BUS.is_dir() or _load(session):
        for item in ours:
            item.stash[relay.HERE] = True
    else:
        session.stash[relay.OPTIONS] = _provide()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _LOADED_BY_US in session.stash:
        subprocess.run(["modprobe", "-r", "netdevsim"], check=True)


@pytest.fixture(scope="session", autouse=True)
def present() -> None:
    """The simulator, and debugfs, which sets how many VFs a card may have."""
    if reason := os.environ.get(_WHY_NOT):
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and CI=true says that this test must run", pytrace=False)
        pytest.skip(reason)
    if not cards.DEBUG.is_dir():
        subprocess.run(["mount", "-t", "debugfs", "debugfs", cards.DEBUG.parent], check=True)


def _load(session: pytest.Session) -> bool:
    """Whether this machine's kernel has the module; it is taken out again when the session ends."""
    try:
        subprocess.run(["modprobe", "--quiet", "netdevsim"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return False
    session.stash[_LOADED_BY_US] = True
    return True


def _provide() -> list[str]:
    """What hack/lab needs to be told; where there is no module, the other tests of the lab run all the same."""
    shown = progress.Progress(sys.stderr)
    try:
        with cache.borrowed(cache.default(), shown) as kernel:
            netdevsim.built(cache.default(), kernel, shown)
    except errors.LabError as error:
        return ["--env", f"{_WHY_NOT}={error}"]
    finally:
        shown.clear()
    return ["--netdevsim"]
