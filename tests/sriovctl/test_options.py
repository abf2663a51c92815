"""Options: the daemons' own names beside sriovctl's, before the command or behind it, and none agrees by itself."""

import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from sriovctl import app, exit_codes, options
from tests.sriovctl import nodes


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        (["inventory", "--sysfs", "/s"], ["--sysfs", "/s", "inventory"]),
        (["inventory", "--sysfs=/s", "-o", "json"], ["--sysfs=/s", "inventory", "-o", "json"]),
        (["-o", "json", "inventory", "--pf", "x"], ["inventory", "-o", "json", "--pf", "x"]),
        (
            ["--output=json", "--run-dir", "/r", "explain", "web"],
            ["--run-dir", "/r", "explain", "--output=json", "web"],
        ),
        (["attachments", "release", "--run-dir=/r", "01:10.0"], ["--run-dir=/r", "attachments", "release", "01:10.0"]),
        (["explain", "--", "--sysfs"], ["explain", "--", "--sysfs"]),
        (["inventory", "--sysfs"], ["--sysfs", "inventory"]),
        (["-o", "json"], ["-o", "json"]),
        (["--help"], ["--help"]),
        ([], []),
    ],
)
def test_options_may_stand_before_the_command_or_behind_it(written: list[str], taken: list[str]) -> None:
    assert options.in_order(written) == taken


def test_every_name_of_a_path_does_the_same(node: nodes.Node) -> None:
    told = node.run("inventory", "-o", "json").out
    others = {"proc": "procfs", "kubelet": "kubelet-root-dir", "config": "config-file"}
    places = dict(each.removeprefix("--").split("=", 1) for each in node.places)
    renamed = [f"--{others.get(name, name)}={path}" for name, path in places.items()]
    assert nodes.run(*renamed, "inventory", "-o", "json").out == told
    assert nodes.run("-o", "json", "inventory", *renamed).out == told
    assert nodes.run("inventory", *renamed, "--resource-prefix", "example.com", "-o", "json").out != told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["provision", "--plan", "--apply", "f"], "--plan and --apply contradict each other"),
        (["provision", "--yes", "f"], "--yes goes with --apply"),
        (["topology", "--nccl", "web", "-o", "json"], "leave out --svg and --output"),
        (["topology", "--svg", "f", "-o", "yaml"], "leave out --output"),
        (["explain", "0000:01:10.0", "--resource", "rail_a"], "0000:01:10.0 is a device: leave them out"),
        (["attachments", "--stale", "release", "0000:01:10.0"], "not for release: leave them out"),
    ],
)
def test_what_contradicts_itself_is_refused(node: nodes.Node, arguments: list[str], says: str) -> None:
    ran = node.run(*arguments)
    assert (ran.status, ran.out, says in ran.err) == (exit_codes.Exit.USAGE, "", True), ran


def test_a_variable_is_a_path_and_agrees_to_nothing(node: nodes.Node, tmp_path: pathlib.Path) -> None:
    """The options of commands as click would name their variables. Only who applies a plan looks at the lock."""
    (tmp_path / "f.yaml").write_text("policies: [{name: a, selector: {pfNames: [enp1s0]}, numVfs: 3}]")
    changes = {
        f"SRIOVCTL_{command}{name}": value
        for command in ("", "PROVISION_", "ATTACHMENTS_RELEASE_")
        for name, value in {"APPLY": "1", "HOW": "apply", "CHANGES": "1", "YES": "1"}.items()
    }
    paths = {f"SRIOVCTL_{name.upper().replace('-', '_')}": path for name, path in _places(node).items()}
    command = [sys.executable, "-m", "sriovctl", "provision", str(tmp_path / "f.yaml")]
    environment = {"PATH": os.environ["PATH"], **changes, **paths}
    with (node.folder / "run/provision.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = [
            subprocess.run(each, env=environment, capture_output=True, text=True, check=False).stderr
            for each in (command, [*command, "--apply"])
        ]
    assert ["another `sriovctl provision --apply` is running" in each for each in said] == [False, True], said


def _places(node: nodes.Node) -> dict[str, str]:
    return dict(each.removeprefix("--").split("=", 1) for each in node.places)


def test_a_watch_that_is_ended_by_the_keyboard_says_so_to_scripts(node: nodes.Node) -> None:
    # A script that is started with & has its children ignore SIGINT, as a terminal has not.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "sriovctl", *node.places, "inventory", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while "0000:01:11.4" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in told) == (exit_codes.Exit.ENDED, False), told


def test_the_version_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["version"]) == 0
    assert capsys.readouterr().out.startswith("sriovctl (sriov-underlay) ")
