"""An ordinary `pytest tests/lab` in a project like ours whose hack/lab boots nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

# What hack/lab does for `run --out DIR --env NAME=VALUE … -- COMMAND`, on this machine.
HERE = """#!/bin/sh
export SRIOV_LAB=guest LAB_OUT="$3" "$5"
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""

# A guest that is none has no shim to be built for it.
SHIMS = """
class NATIVE:
    provide = staticmethod(lambda session, folder: None)
"""

TESTS = """
import os, pytest

def test_passes():
    assert os.environ["SRIOV_LAB"] == "guest"

def test_fails():
    print("seen by the guest")
    assert 1 == 2

def test_skips():
    pytest.skip("not today")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert False

@pytest.mark.parametrize("text", ["a b", "é[]"])
def test_odd_names(text):
    pass

@pytest.fixture
def broken():
    yield
    raise OSError("in teardown")

def test_breaks_after(broken):
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    lab = tmp_path / "tests" / "lab"
    lab.mkdir(parents=True)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    for name in ("__init__.py", "conftest.py", "relay.py"):
        shutil.copy(PROJECT / "tests" / "lab" / name, lab)
    (tmp_path / "tests" / "__init__.py").touch()
    (lab / "shims.py").write_text(SHIMS)
    (lab / "test_things.py").write_text(TESTS)
    (tmp_path / "hack").mkdir()
    (tmp_path / "temporary").mkdir()
    return tmp_path


ELSEWHERE = """
import os

def test_of_the_machine():
    assert "SRIOV_LAB" not in os.environ
"""


def run(project: Path, script: str, *arguments: str, **environment: str) -> str:
    """What pytest prints, run on the tests of the lab after another that is none of them."""
    (project / "tests" / "test_elsewhere.py").write_text(ELSEWHERE)
    (project / "hack" / "lab").write_text(script)
    (project / "hack" / "lab").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "SRIOV_LAB", "LAB_OUT"}}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests", "-p", "no:cacheprovider", *arguments],
        cwd=project, env={**kept, "TMPDIR": str(project / "temporary"), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def summary(output: str) -> str:
    return re.sub(r" in \S+ =.*", "", output.splitlines()[-1]).strip("= ")


def test_every_report_is_the_guests(project: Path) -> None:
    output = run(project, HERE)
    assert summary(output) == "1 failed, 5 passed, 1 skipped, 1 xfailed, 1 error"
    assert "seen by the guest" in output and "assert 1 == 2" in output and "in teardown" in output
    assert "not today" in output


def test_only_what_is_selected_runs_in_the_guest(project: Path) -> None:
    output = run(project, HERE, "-k", "odd or passes")
    assert summary(output) == "3 passed, 5 deselected"
    assert list((project / "temporary").iterdir()) == []


def test_the_guests_log_is_kept_and_named_when_a_test_fails(project: Path) -> None:
    output = run(project, HERE, "-k", "fails")
    found = re.search(r"its log: (\S+)", output)
    assert found is not None and "1 failed" in Path(found[1]).read_text()


def test_where_no_guest_can_be_had_tests_are_skipped_with_the_reason(project: Path) -> None:
    output = run(project, "#!/bin/sh\necho 'lab: this machine is not Debian' >&2\nexit 69\n")
    assert summary(output) == "1 passed, 7 skipped"
    assert "lab: this machine is not Debian" in output


def test_where_they_must_run_no_guest_is_a_failure(project: Path) -> None:
    output = run(project, "#!/bin/sh\necho 'lab: not root' >&2\nexit 69\n", CI="true")
    assert summary(output) == "1 passed, 7 errors"
    assert "lab: not root" in output


def test_a_guest_that_dies_fails_the_tests_it_owes(project: Path) -> None:
    output = run(project, "#!/bin/sh\necho 'lab: the guest did not boot'\nexit 125\n", "-k", "passes")
    assert summary(output) == "7 deselected, 1 error"
    assert "lab: the guest did not boot" in output


def limit(project: Path, name: str, seconds: float) -> None:
    """Give the project's relay another limit."""
    path = project / "tests" / "lab" / "relay.py"
    path.write_text(re.sub(rf"^{name} = .*", f"{name} = {seconds}", path.read_text(), flags=re.MULTILINE))


HANGING = """
import threading, time

def test_hangs():
    threading.Thread(target=time.sleep, args=(60,), name="the other thread", daemon=True).start()
    time.sleep(60)

def test_goes_on():
    pass
"""


def test_a_test_that_hangs_in_the_guest_fails_with_all_stacks_and_the_next_one_runs(project: Path) -> None:
    (project / "tests" / "lab" / "test_things.py").write_text(HANGING)
    limit(project, "LIMIT", 2)
    output = run(project, HERE)
    assert summary(output) == "1 failed, 2 passed"
    assert "Timeout (>2.0s)" in output and "Stack of the other thread" in output


def test_a_guest_that_says_nothing_for_too_long_fails_the_tests_it_owes(project: Path) -> None:
    limit(project, "PATIENCE", 1)
    output = run(project, "#!/bin/sh\necho booting\nexec sleep 60\n", "-k", "passes")
    assert summary(output) == "7 deselected, 1 error"
    assert re.search(r"did not report \S+test_passes in 1 s; its log ends:\n\S*\s*booting", output)


# What a lab does whose first guest stands still in its second test.
STANDING_STILL = """#!/bin/sh
export SRIOV_LAB=guest LAB_OUT="$3"
while [ "$1" != -- ]; do shift; done
shift
if mkdir first 2>/dev/null; then
    head -n 1 "$LAB_OUT/selection" >"$LAB_OUT/some"
    "$1" -m pytest -p no:cacheprovider "@$LAB_OUT/some"
    echo "lab: the guest stood still: no sign of life for 180 s" >&2
    exit 75
fi
exec "$@"
"""


def test_when_a_guest_stands_still_another_one_runs_the_tests_that_are_left(project: Path) -> None:
    output = run(project, STANDING_STILL, "-k", "passes or odd or fails")
    assert summary(output) == "1 failed, 3 passed, 4 deselected"
    assert re.search(r"lab: the guest stood still in \S+::test_fails; another one runs what is left", output)
    assert "no sign of life for 180 s" in output


def test_two_guests_that_stand_still_fail_the_tests_they_owe(project: Path) -> None:
    output = run(project, "#!/bin/sh\necho 'lab: the guest stood still'\nexit 75\n", "-k", "passes")
    assert summary(output) == "7 deselected, 1 error"


LISTENING = """
class Listening:
    def doing(self, text):
        print(f"told: {text}", file=open("heard", "a"))

def pytest_configure(config):
    config.pluginmanager.register(Listening())
"""

SLOW = """#!/bin/sh
echo 'lab: downloading'
sleep 1
echo 'lab: booting'
sleep 1
""" + HERE.removeprefix("#!/bin/sh\n")


def test_a_plugin_is_told_what_the_lab_prepares(project: Path) -> None:
    (project / "tests" / "conftest.py").write_text(LISTENING)
    run(project, SLOW, "-k", "passes")
    told = (project / "heard").read_text().splitlines()
    assert told[:2] == ["told: lab: downloading", "told: lab: booting"] and len(told) < 5


TOLD = """#!/bin/sh
echo "$@" >told
export SRIOV_LAB=guest LAB_OUT="$3"
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""

CHOOSING = """
from tests.lab import relay

def pytest_collection_finish(session):
    session.stash[relay.OPTIONS] = ["--netdevsim"]
    for item in session.items:
        if item.name == "test_runs_here":
            item.stash[relay.HERE] = True
"""

CHOSEN = """
import os

def test_runs_here():
    assert "SRIOV_LAB" not in os.environ

def test_runs_there():
    assert os.environ["SRIOV_LAB"] == "guest"
"""


def test_a_folder_may_ask_for_more_of_the_guest_and_keep_a_test_on_the_machine(project: Path) -> None:
    folder = project / "tests" / "lab" / "special"
    folder.mkdir()
    for name, text in (("__init__.py", ""), ("conftest.py", CHOOSING), ("test_special.py", CHOSEN)):
        (folder / name).write_text(text)
    output = run(project, TOLD, "-k", "runs_here or runs_there")
    assert summary(output) == "2 passed, 8 deselected"
    assert "--netdevsim --" in (project / "told").read_text()
