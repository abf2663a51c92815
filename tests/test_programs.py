"""All programs of the wheel beside each other: one name for one thing, the same manners, completion for each."""

import argparse
import pathlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable

import pytest

from deviceplugin import flags as deviceplugin
from sriov_agent import app as sriov_agent
from sriov_cni import flags as cni_flags
from sriov_dra import flags as dra_flags
from sriov_installer import __main__ as installer
from sriov_installer import artifacts
from sriov_installer import flags as sriov_installer
from sriovctl import options
from sriovctl.cluster import completing

ROOT = pathlib.Path(__file__).parents[1]
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
COMPLETER = "kubectl_complete-sriov"
"""kubectl's own way to complete: it is typed by nobody."""
TYPED = sorted(set(SCRIPTS) - {COMPLETER})
ALIKE = {
    "--config-file": {"--config"},
    "--resource-prefix": {"--prefix"},
    "--procfs": {"--proc"},
    "--kubelet-root-dir": {"--kubelet", "--pod-resources-socket"},
    "--cni-bin-dir": {"--cni-bin"},
    "--cni-conf-dir": {"--cni-conf"},
}
"""The name of each thing, and other names that programs have for it or had before."""
SHARED = {
    "--config-file": {"sriov-device-plugin", "sriov-dra-driver", "sriovctl"},
    "--resource-prefix": {"sriov-device-plugin", "sriov-dra-driver", "sriovctl"},
    "--procfs": {"sriov-device-plugin", "sriov-dra-driver", "sriovctl"},
    "--kubelet-root-dir": {"sriov-device-plugin", "sriov-dra-driver", "sriov-cni-daemon", "sriovctl"},
    "--sysfs": {"sriov-device-plugin", "sriov-dra-driver", "sriov-cni-daemon", "sriovctl"},
    "--run-dir": {"sriov-device-plugin", "sriov-dra-driver", "sriov-cni-daemon", "sriovctl", "sriov-underlay"},
    "--policy": {"sriov-cni-daemon", "sriovctl"},
    "--cni-bin-dir": {"sriovctl", "sriov-underlay"},
    "--http": {"sriov-device-plugin", "sriov-dra-driver", "sriov-cni-daemon", "sriov-agent"},
    "--cni-conf-dir": {"sriov-dra-driver", "sriovctl"},
    "--cluster-socket": {"sriov-cni-daemon", "sriov-agent"},
    "--log-level": {"sriov-device-plugin", "sriov-dra-driver", "sriov-cni-daemon", "sriov-agent"},
    "--log-format": {"sriov-device-plugin", "sriov-dra-driver", "sriov-cni-daemon", "sriov-agent"},
}
"""By thing, the programs that have to do with it."""


def started(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As its console script does."""
    module, function = SCRIPTS[program].split(":")
    script = f"import sys; sys.argv[0] = {program!r}; from {module} import {function}; sys.exit({function}())"
    return subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def flags() -> dict[str, set[str]]:
    """The long options of each program, those of its commands too."""
    parsers = {
        "sriov-device-plugin": deviceplugin.parser(),
        "sriov-cni-daemon": cni_flags.parser(),
        "sriov-agent": sriov_agent._parser(),
        "sriov-dra-driver": dra_flags.parser(),
        "sriov-underlay": sriov_installer.parser(installer.COMMANDS),
    }
    found = {name: set(_long(parser)) for name, parser in parsers.items()}
    return {**found, "sriovctl": {flag for names, _ in options._PLACES.values() for flag in names}}


def _long(parser: argparse.ArgumentParser) -> list[str]:
    below = [
        flag
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for each in action.choices.values()
        for flag in _long(each)
    ]
    return [flag for flag in parser._option_string_actions if flag.startswith("--")] + below


def test_each_thing_has_one_name_wherever_it_is() -> None:
    found = flags()
    assert {flag: {name for name, its in found.items() if flag in its} for flag in SHARED} == SHARED
    for flag, others in ALIKE.items():
        assert [name for name, its in found.items() if others & its and flag not in its] == []


@pytest.mark.parametrize(
    ("parse", "names", "value"),
    [
        (deviceplugin.parser().parse_args, ("--config-file", "--config"), "/etc/x.json"),
        (
            cni_flags.parser().parse_args,
            ("--kubelet-root-dir=/k", "--pod-resources-socket=/k/pod-resources/kubelet.sock"),
            "",
        ),
    ],
)  # fmt: skip
def test_old_names_say_the_same(
    parse: Callable[[list[str]], argparse.Namespace], names: tuple[str, str], value: str
) -> None:
    new, old = (parse([f"{name}={value}" if value else name]) for name in names)
    assert vars(new) == vars(old)
    assert vars(new) != vars(parse([]))


def test_two_names_that_contradict_each_other_are_refused() -> None:
    ran = started("sriov-cni-daemon", "--kubelet-root-dir=/a", "--pod-resources-socket=/b")
    assert (ran.returncode, "not allowed with argument --kubelet-root-dir" in ran.stderr) == (2, True)


@pytest.mark.parametrize("program", TYPED)
def test_a_program_tells_its_name_and_release(program: str) -> None:
    told = started(program, "--version").stdout
    assert re.match(rf"{program} (\(sriov-underlay\) )?\S+", told), told
    assert ("(sriov-underlay)" in told) == (program != "sriov-underlay")
    if program in ("sriovctl", "sriov-underlay", "kubectl-sriov"):
        assert started(program, "version").stdout == told


@pytest.mark.parametrize("program", TYPED)
def test_usage_and_errors_show_what_is_typed(program: str) -> None:
    name = program.replace("kubectl-", "kubectl ")
    command = ["install"] if program == "sriov-underlay" else []  # which has nothing without one
    shown, wrong = started(program, "--help"), started(program, *command, "--nonsense")
    assert (shown.returncode, wrong.returncode) == (0, 2)
    assert shown.stdout.lower().startswith(f"usage: {name} ")
    assert f"usage: {name} " in wrong.stderr.lower()
    assert "--nonsense" in wrong.stderr


@pytest.mark.parametrize(
    ("program", "behind", "before", "says"),
    [
        ("sriov-underlay", ["install", "--root", "/nowhere"], ["--root", "/nowhere", "install"], "no folder /nowhere/"),
        ("sriov-underlay", ["status", "--root=/nowhere"], ["--root=/nowhere", "status"], "absent"),
        ("sriovctl", ["inventory", "--sysfs", "/x"], ["--sysfs", "/x", "inventory"], "there is no /x/bus/pci/devices"),
        ("kubectl-sriov", ["doctor", "--kubeconfig", "/x"], ["--kubeconfig", "/x", "doctor"], "kubectl"),
        ("kubectl-sriov", ["topology", "-n", "doctor"], ["-n", "doctor", "topology"], "Missing option '--node'"),
    ],
)
def test_options_may_stand_before_the_command_or_behind_it(
    program: str, behind: list[str], before: list[str], says: str
) -> None:
    """A daemon has no command."""
    told = [started(program, *words) for words in (behind, before)]
    assert (told[0].returncode, told[0].stdout, told[0].stderr) == (told[1].returncode, told[1].stdout, told[1].stderr)
    assert says in told[0].stdout + told[0].stderr


def test_the_installers_options_with_values_are_known() -> None:
    valued = {
        flag
        for action in sriov_installer.parser(installer.COMMANDS)._actions
        if isinstance(action, argparse._SubParsersAction)
        for each in action.choices.values()
        for option in each._actions
        if option.option_strings and option.nargs is None
        for flag in option.option_strings
    }
    assert valued == set(sriov_installer.VALUED)


@pytest.mark.parametrize("shell", artifacts.SHELLS)
def test_every_program_can_be_completed(shell: str) -> None:
    there = {path.name for path in (ROOT / "sriov_installer/completions" / shell).iterdir()}
    assert there == set(TYPED) - {"kubectl-sriov"}, "which kubectl completes"
    assert COMPLETER in SCRIPTS


def test_completions_are_as_the_programs_are() -> None:
    command = [sys.executable, "-P", "-m", "hack.completions", "--check"]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("sriov-device-plugin --resource-p", {"--resource-prefix"}),
        ("sriov-device-plugin --registration ", {"direct", "watcher"}),
        ("sriov-cni-daemon --log-level ", {"debug", "info", "warning", "error"}),
        ("sriov-cni-daemon --kubelet", {"--kubelet-root-dir"}),
        ("sriov-underlay ", {"install", "uninstall", "status", "check", "cluster", "version"}),
        ("sriov-underlay install --prov", {"--provisioning"}),
    ],
)
def test_bash_completes(words: str, offered: set[str]) -> None:
    """With the file that is installed, in a bash, without the program."""
    program, *typed = words.split(" ")
    file = ROOT / "sriov_installer/completions/bash" / program
    listed = " ".join(f"'{each}'" for each in (program, *typed))
    script = (
        f"source {file}; COMP_WORDS=({listed}); COMP_CWORD={len(typed)}; "
        f"_shtab_{program.replace('-', '_')}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered


def test_kubectl_is_told_what_may_come() -> None:
    ran = started(COMPLETER, "in")
    assert (ran.returncode, ran.stdout) == (0, "inventory\n:4\n")
    assert {"--node", "--context", "--output"} <= set(completing.candidates(["doctor", "--"]))
    assert completing.candidates(["doctor", "-o", "j"]) == ["json"]


def test_no_daemon_imports_what_only_people_need() -> None:
    listing = "import sys; import {}; print(*sys.modules)"
    for module in ("deviceplugin.app", "sriov_agent.app", "sriov_cni.app", "sriov_dra.app"):
        done = subprocess.run(
            [sys.executable, "-P", "-c", listing.format(module)],
            env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert not {"shtab", "argcomplete", "click", "deviceplugin.dry_run", "sriov.layout"} & set(done.stdout.split())
