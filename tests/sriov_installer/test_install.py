"""The shim comes to a node and goes: idempotent, whole at any time, and never over somebody else's file."""

import ast
import itertools
import pathlib
import stat
import subprocess
import sys
import tomllib

import pytest

from sriov_installer import artifacts, files, marks
from tests.crash import test_full_disk
from tests.sriov_installer import nodes

ROOT = pathlib.Path(__file__).parents[2]
SHIM_ONLY = ("--shim-only",)
INCUMBENT = b"\x7fELF of sriov-cni"


@pytest.fixture
def node(tmp_path: pathlib.Path) -> nodes.Node:
    return nodes.make(tmp_path / "node")


@pytest.fixture
def taken(node: nodes.Node) -> nodes.Node:
    """sriov-cni is there."""
    node.shim.write_bytes(INCUMBENT)
    node.shim.chmod(0o750)
    return node


def older(node: nodes.Node) -> None:
    """What an older version of ours left there."""
    node.shim.write_bytes(marks.stamped(b"#!/usr/bin/python3 -IS\n", "0.0.9"))
    node.shim.chmod(0o755)


def test_install_then_uninstall_leaves_nothing(node: nodes.Node) -> None:
    before = node.files()
    assert node.run("install") == 0
    assert stat.S_IMODE(node.shim.stat().st_mode) == 0o755
    units = {f"etc/systemd/system/{name}" for name in artifacts.UNITS}
    assert node.files().keys() - before.keys() == {"opt/cni/bin/sriov"} | units
    assert node.run("uninstall") == 0
    assert node.files() == before


def test_provisioning_comes_where_asked_for_and_stays_until_uninstall(
    node: nodes.Node, capsys: pytest.CaptureFixture[str]
) -> None:
    """An upgrade need not ask again: what is there of it is made as this version has it."""
    before = node.files()
    assert node.run("install") == 0
    plain = node.files()
    assert node.run("install", "--provisioning") == 0
    folders = {
        "systemd/system": artifacts.PROVISION,
        "udev/rules.d": artifacts.RULES,
        "systemd/network": artifacts.NETWORK,
    }
    paths = {f"etc/{folder}/{name}": node.root / "etc" / folder / name for folder, name in folders.items()}
    assert node.files().keys() - plain.keys() == paths.keys()
    whole = node.files()
    for path in paths.values():
        path.write_bytes(marks.stamped(b"# older", "0.0.9"))
    assert node.run("status") == 4
    assert "udev rules of version 0.0.9, not as version" in capsys.readouterr().out
    assert node.run("install") == 0
    assert node.files() == whole
    assert node.run("status") == 0
    assert node.run("uninstall") == 0
    assert node.files() == before


def test_services_come_where_asked_for_and_stay_until_uninstall(
    node: nodes.Node, capsys: pytest.CaptureFixture[str]
) -> None:
    before = node.files()
    assert node.run("install") == 0
    plain = node.files()
    assert node.run("install", "--services") == 0
    paths = {f"etc/systemd/system/{name}" for name in (artifacts.AGENT, artifacts.DROP_IN)}
    assert node.files().keys() - plain.keys() == paths
    whole = node.files()
    for path in paths:
        (node.root / path).write_bytes(marks.stamped(b"# older", "0.0.9"))
    assert node.run("status") == 4
    assert "part of a unit of version 0.0.9, not as version" in capsys.readouterr().out
    assert node.run("install") == 0
    assert node.files() == whole
    state = node.root / "var/lib/sriov-underlay"
    state.mkdir(parents=True)
    for name in ("services", "policies", ".policies.draft"):
        (state / name).write_text("the last table")
    assert node.run("uninstall", "--dry-run") == 0
    assert f"would remove the last Services in {state}" in capsys.readouterr().out
    assert node.run("uninstall") == 0
    assert node.files() == before
    assert not state.exists()
    assert not (node.root / "etc/systemd/system/sriov-cni.service.d").exists()


def test_services_take_their_program_user_and_units(node: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    (node.root / "etc/passwd").write_text("root:x:0:64731:root:/root:/bin/sh\n")
    (node.root / nodes.PROGRAMS[1:] / artifacts.AGENT_PROGRAM).unlink()
    before = node.files()
    assert node.run("install", "--services") == 1
    said = capsys.readouterr().err
    assert f"there is no {nodes.PROGRAMS}/sriov-agent; install the package there" in said
    assert "etc/passwd has no user 64731, as which the agent runs; make it: useradd --system --uid 64731 --home" in said
    assert node.run("install", "--services", "--shim-only") == 1
    assert "--services is units, which --shim-only leaves out" in capsys.readouterr().err
    assert node.files() == before


def test_what_is_there_already_is_left_as_it_is(node: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.run("install") == 0
    first = node.shim.stat()
    assert node.run("install") == 0
    assert (node.shim.stat().st_ino, node.shim.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert "nothing to do" in capsys.readouterr().out
    assert [node.run("uninstall"), node.run("uninstall")] == [0, 0]


def test_the_installed_shim_answers_as_the_one_in_the_package(node: nodes.Node) -> None:
    assert node.run("install") == 0
    env = {"CNI_COMMAND": "VERSION", "SRIOV_CNI_SOCKET": "/nonexistent", "SRIOV_CNI_WAIT": "0"}
    done = subprocess.run([node.shim], env=env, input=b"{}", capture_output=True, check=False)
    assert (done.returncode, b'"code":11' in done.stdout, done.stderr) == (1, True, b"")


def test_the_native_shim_is_taken_where_there_is_one(tmp_path: pathlib.Path) -> None:
    package = nodes.package_with_native_shim(tmp_path / "sriov_cni")
    chosen = artifacts.shim(nodes.BIN, package)
    assert (chosen.content.startswith(nodes.NATIVE), chosen.interpreter) == (True, "")
    (package / "shim-s390x").write_bytes(b"for another machine")
    next(package.glob("shim-[!s]*")).unlink()
    assert artifacts.shim(nodes.BIN, package).interpreter == "/usr/bin/python3"


def test_a_stamped_native_shim_runs(tmp_path: pathlib.Path) -> None:
    """The kernel minds nothing behind an ELF file's end."""
    program = tmp_path / "true"
    program.write_bytes(marks.stamped(pathlib.Path("/bin/true").read_bytes(), "1.2.3"))
    program.chmod(0o755)
    assert subprocess.run([program], check=False).returncode == 0
    assert marks.version_of(program.read_bytes()) == "1.2.3"


def test_another_plugin_of_that_name_is_left_alone(taken: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    before = taken.files()
    assert taken.run("install") == 1
    assert "is another plugin; give --replace-incumbent" in capsys.readouterr().err
    assert taken.run("uninstall") == 0
    assert taken.files() == before


def test_a_replaced_plugin_is_kept_and_comes_back(taken: nodes.Node) -> None:
    before = taken.files()
    assert taken.run("install", "--replace-incumbent") == 0
    assert taken.backup.read_bytes() == INCUMBENT
    assert taken.run("install", "--replace-incumbent") == 0
    assert taken.run("install") == 0
    assert taken.backup.read_bytes() == INCUMBENT
    assert taken.run("uninstall") == 0
    assert taken.files() == before


def test_a_plugin_that_was_installed_over_ours_is_kept_in_the_place_of_the_former(taken: nodes.Node) -> None:
    """As the other's DaemonSet does with each start."""
    assert taken.run("install", "--replace-incumbent") == 0
    taken.shim.unlink()
    taken.shim.write_bytes(b"a newer sriov-cni")
    assert taken.run("install") == 1
    assert taken.run("install", "--replace-incumbent") == 0
    assert taken.backup.read_bytes() == b"a newer sriov-cni"
    taken.shim.unlink()
    taken.shim.write_bytes(b"the newest")
    assert taken.run("uninstall") == 0
    assert (taken.shim.read_bytes(), taken.backup.exists()) == (b"the newest", False)


def test_a_link_is_somebody_elses_and_comes_back_as_a_link(node: nodes.Node) -> None:
    node.shim.symlink_to("host-local")
    assert node.run("install") == 1
    assert node.run("install", "--replace-incumbent") == 0
    assert (node.root / "opt/cni/bin/host-local").read_text() == "somebody's plugin"
    assert node.run("uninstall") == 0
    assert str(node.shim.readlink()) == "host-local"


def test_a_dry_run_says_all_and_does_nothing(taken: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    before = taken.files()
    assert taken.run("install", "--replace-incumbent", "--dry-run", "--shim-only") == 0
    assert taken.files() == before
    told = capsys.readouterr().out
    assert told.splitlines() == [f"would keep what is there as {taken.backup}", f"would write {taken.shim}"]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda node: (node.root / "usr/bin/python3").unlink(), "the Python shim needs /usr/bin/python3; install it"),
        (lambda node: node.shim.mkdir(), "is a folder; remove it"),
        (lambda node: (node.root / "opt/cni").rename(node.root / "opt/other"), "make it, or say by --cni-bin-dir"),
        (lambda node: (node.root / "etc/systemd/system").rmdir(), "where this node has it, or take --shim-only"),
        (lambda node: (node.root / "opt/sriov-underlay/bin/sriov-cni-daemon").unlink(), "install the package there"),
        (
            lambda node: (node.root / "etc/systemd/system/sriov-cni.socket").touch(),
            "does not belong to sriov-underlay; move it",
        ),
        (lambda node: (node.root / "etc/udev/rules.d").rmdir(), "make it, or say by --udev-dir where this node has it"),
        (lambda node: (node.root / "etc/systemd/network").rmdir(), "make it, or say by --networkd-dir"),
        (lambda node: (node.root / "opt/sriov-underlay/bin/sriovctl").unlink(), "bin/sriovctl; install the package"),
    ],
)
def test_a_problem_is_one_line_and_nothing_is_changed(
    node: nodes.Node, spoil: object, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(spoil)
    spoil(node)
    before = node.files()
    assert node.run("install", "--provisioning") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("sriov-underlay: ")
    assert complaint in line
    assert node.files() == before


def test_a_full_disk_changes_nothing(taken: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    before = taken.files()
    with test_full_disk.files_of_at_most(1000):
        assert taken.run("install", "--replace-incumbent") == 1
    assert "free space" in capsys.readouterr().err
    assert taken.files() == before


def test_wrong_flags_have_a_status_of_their_own(node: nodes.Node) -> None:
    with pytest.raises(SystemExit) as ended:
        node.run("install", "--cni-bin-dir", "opt/cni/bin")
    assert ended.value.code == 2


def test_an_init_container_installs_no_provisioning(node: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    before = node.files()
    assert node.run("install", "--shim-only", "--provisioning") == 1
    assert "which --shim-only leaves out; give one of them" in capsys.readouterr().err
    assert node.files() == before


@pytest.mark.parametrize("plugin", artifacts.PLUGINS)
def test_a_shim_comes_and_goes_by_its_name(node: nodes.Node, plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As the init containers of sriov-network-operator have it, once and again."""
    place = node.shim.with_name(plugin)
    place.write_bytes(INCUMBENT)
    before = node.files()
    named = ("--shim-only", "--plugin", plugin)
    assert node.run("install", *named, "--replace-incumbent", "--no-sleep") == 0
    assert files.backup(place).read_bytes() == INCUMBENT
    assert marks.version_of(place.read_bytes()) == marks.version()
    assert node.run("install", *named, "--replace-incumbent", "--no-sleep") == 0
    assert capsys.readouterr().out.endswith("nothing to do\n")
    assert node.run("status", *named) == 0
    assert f"{place}: Python shim of version" in capsys.readouterr().out
    assert node.run("uninstall", *named) == 0
    assert node.files() == before


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_shim_of_another_name_has_no_units(
    node: nodes.Node, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = node.files()
    assert node.run(command, "--plugin", "ib-sriov") == 1
    assert "--plugin ib-sriov is a shim without units; give --shim-only, too" in capsys.readouterr().err
    assert node.files() == before


def test_completions_come_where_shells_look_and_go_again(node: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    shared = node.root / "usr/local/share"
    shared.mkdir(parents=True)
    before = node.files()
    assert node.run("install") == 0
    names = ("sriovctl", "sriov-underlay", "sriov-agent", "sriov-cni-daemon", "sriov-device-plugin", "sriov-dra-driver")
    places = ("bash-completion/completions/{}", "zsh/site-functions/_{}", "fish/vendor_completions.d/{}.fish")
    assert {str(path.relative_to(shared)) for path in shared.rglob("*") if path.is_file()} == {
        place.format(name) for place in places for name in names
    }
    capsys.readouterr()
    assert node.run("status") == 0
    told = capsys.readouterr().out
    assert f"completions for bash, zsh, fish: completion of version {marks.version()}, as version" in told
    (shared / "zsh/site-functions/_sriovctl").unlink()
    assert node.run("status") == 4
    assert "usr/local/share/zsh/site-functions/_sriovctl: absent" in capsys.readouterr().out
    assert node.run("install") == 0
    assert node.run("uninstall") == 0
    assert node.files() == before


def test_a_completion_of_somebody_else_stays_and_keeps_nothing_from_being_installed(
    node: nodes.Node, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = node.root / "usr/local/share/bash-completion/completions/sriovctl"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("complete -W mine sriovctl\n")
    assert node.run("install") == 0
    assert f"leave, since it is not ours, {theirs}" in capsys.readouterr().out
    assert (theirs.with_name("sriov-underlay").is_file(), node.run("status")) == (True, 0)
    assert node.run("uninstall") == 0
    assert theirs.read_text() == "complete -W mine sriovctl\n"


def test_an_init_container_installs_no_completions(node: nodes.Node) -> None:
    (node.root / "usr/local/share").mkdir(parents=True)
    assert node.run("install", "--shim-only") == 0
    assert list((node.root / "usr/local/share").iterdir()) == []


def test_a_folder_of_completions_that_is_elsewhere_or_read_only(node: nodes.Node) -> None:
    (node.root / "share").mkdir()
    assert node.run("install", "--completions-dir=/share") == 0
    assert len(list((node.root / "share").rglob("*sriov*"))) == 18
    assert node.run("uninstall", "--completions-dir=/share") == 0
    assert list((node.root / "share").rglob("*sriov*")) == []
    assert [node.run("install", "--completions-dir=/nowhere"), (node.root / "nowhere").exists()] == [0, False]


def test_a_node_without_provisioning_needs_none_of_its_folders(node: nodes.Node) -> None:
    for folder in nodes.PROVISIONING:
        (node.root / folder).rmdir()
    assert [node.run("install"), node.run("status"), node.run("uninstall")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("prints", "found"),
    [("3 6", "3.6"), ("3 9", "3.9"), ("2 7", "2.7"), ("3 10", ""), ("3 11", ""), ("4 0", ""), ("", "older")],
)
def test_an_interpreter_that_is_too_old_is_one_sentence(
    node: nodes.Node, prints: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An older one would end each call of each pod in a traceback."""
    interpreter = node.root / "usr/bin/python3"
    interpreter.write_text(f'#!/bin/sh\n[ "$1" = -IS ] || exit 9\nprintf "%s" "{prints}"\n')
    interpreter.chmod(0o755)
    before = node.files()
    assert node.run("install") == (1 if found else 0)
    if not found:
        return
    [line] = capsys.readouterr().err.splitlines()
    assert f"needs Python 3.10 or later, and /usr/bin/python3 is {found}; install a later one there" in line
    assert node.files() == before
    assert node.run("install", "--shim-only") == 0


def test_the_interpreter_of_this_machine_runs_the_shim(node: nodes.Node) -> None:
    """And the shim says nothing that the oldest one could not read."""
    (node.root / "usr/bin/python3").unlink()
    (node.root / "usr/bin/python3").symlink_to(sys.executable)
    assert node.run("install") == 0
    ast.parse((ROOT / "sriov_cni/shim/shim.py").read_text(), feature_version=artifacts.OLDEST_PYTHON)


def test_an_init_container_sees_no_interpreter_of_the_host(node: nodes.Node) -> None:
    (node.root / "usr/bin/python3").unlink()
    assert node.run("install", "--shim-only") == 0


def test_status_in_words_and_for_scripts(node: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.run("status") == 3
    node.shim.write_bytes(INCUMBENT)
    assert node.run("status") == 3
    assert "absent" in (told := capsys.readouterr().out)
    assert "not of sriov-underlay" in told
    older(node)
    assert node.run("status") == 4
    assert "Python shim of version 0.0.9, not as version" in capsys.readouterr().out
    assert node.run("install") == 0
    assert node.run("status") == 0
    assert f"as version {marks.version()} installs it" in capsys.readouterr().out
    node.shim.chmod(0o700)
    assert node.run("status") == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "flags"), [("nothing", ("--provisioning",)), ("older", SHIM_ONLY), ("incumbent", SHIM_ONLY)]
)
def test_a_death_at_every_line_of_install(folder: pathlib.Path, before: str, flags: tuple[str, ...]) -> None:
    """What a runtime finds is the former plugin or the new one, whole; the same command finishes it."""
    for line in itertools.count(1):
        node = nodes.make(folder / str(line))
        if before == "older":
            older(node)
        elif before == "incumbent":
            node.shim.write_bytes(INCUMBENT)
        clean, old = node.files(), node.shim.read_bytes() if node.shim.exists() else None
        died = node.dies_at(line, "install", "--replace-incumbent", *flags)
        new = artifacts.shim(nodes.BIN).content
        assert (node.shim.read_bytes() if node.shim.exists() else None) in (old, new)
        if line % 2:  # somebody who changes his mind
            assert node.run("install", "--replace-incumbent", *flags) == 0
            assert node.shim.read_bytes() == new
        assert node.run("uninstall") == 0
        if before == "older":
            clean.pop("opt/cni/bin/sriov")
        assert node.files() == clean, line
        if not died:
            assert line > 50, "hardly any lines were traced"
            return


@pytest.mark.slow
def test_a_death_at_every_line_of_uninstall(folder: pathlib.Path) -> None:
    for line in itertools.count(1):
        node = nodes.make(folder / str(line))
        node.shim.write_bytes(INCUMBENT)
        clean = node.files()
        assert node.run("install", "--replace-incumbent") == 0
        died = node.dies_at(line, "uninstall")
        assert node.shim.exists()
        assert node.run("uninstall") == 0
        assert node.files() == clean, line
        if not died:
            assert line > 50, "hardly any lines were traced"
            return


def test_the_console_programs_are_mains_that_take_no_arguments() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name in ("sriov-underlay", "sriov-device-plugin", "sriov-cni-daemon"):
        module, _, function = scripts[name].partition(":")
        call = f"import sys; from {module} import {function}; sys.argv = ['x', '--help']; sys.exit({function}())"
        done = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, "usage:" in done.stdout) == (0, True), done.stderr
