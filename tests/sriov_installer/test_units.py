"""systemd's units: sound, hardened, installed with the shim; and what the installer asks of systemd."""

import asyncio
import pathlib
import re
import shlex
import subprocess
import sys
import uuid

import msgspec
import pytest

from sriov import devices, settings
from sriov.daemon import unix_sockets
from sriov.state import ledger, vf_identity
from sriov_installer import artifacts, services
from tests.deviceplugin import loops
from tests.sriov_cni import harness, test_process
from tests.sriov_installer import nodes

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs/systemd.md"
EXPOSURE = "30"
"""Tenths: what systemd-analyze may find at most, of 100."""


@pytest.fixture
def node(tmp_path: pathlib.Path) -> nodes.Node:
    return nodes.make(tmp_path / "node")


@pytest.fixture
def units(node: nodes.Node) -> list[pathlib.Path]:
    """As installed, but with a program that is there."""
    assert node.run("install", "--provisioning", "--services") == 0
    folder = node.root / "etc/systemd/system"
    for path in (*folder.glob("*.service"), folder / artifacts.DROP_IN):
        path.write_text(re.sub(r"ExecStart=/\S+", "ExecStart=/bin/true", path.read_text()))
    return [folder / name for name in (*artifacts.UNITS, artifacts.AGENT, artifacts.PROVISION)]


def test_the_units_are_sound(units: list[pathlib.Path]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "sriov" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("service", [artifacts.PROVISION, artifacts.AGENT, *artifacts.UNITS[1:]])
def test_the_services_are_hardened(units: list[pathlib.Path], service: str) -> None:
    [path] = [each for each in units if each.name == service]
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    loose = path.with_name("loose.service")
    loose.write_text("[Service]\nExecStart=/bin/true\n")
    done = subprocess.run([*command[:-1], str(loose)], capture_output=True, text=True, check=False)
    assert done.returncode != 0, "the threshold finds nothing"


@pytest.mark.parametrize("service", [*artifacts.UNITS[1:], artifacts.AGENT])
def test_a_daemon_that_ends_however_it_does_is_started_again_for_ever(units: list[pathlib.Path], service: str) -> None:
    """systemd.service(5), Restart=: `always` is also after a signal; systemd.unit(5): without a limit of starts."""
    [unit] = [path.read_text().splitlines() for path in units if path.name == service]
    assert {"Restart=always", "StartLimitIntervalSec=0"} <= {*unit}


def test_vfs_are_made_before_whatever_gives_them_away(units: list[pathlib.Path]) -> None:
    [unit] = [path.read_text() for path in units if path.name == artifacts.PROVISION]
    before = " ".join(re.findall(r"^Before=(.*)$", unit, re.MULTILINE)).split()
    assert {"kubelet.service", "sriov-device-plugin.service", "sriov-cni.service", "network-pre.target"} == set(before)


def test_the_units_start_the_installed_programs(node: nodes.Node) -> None:
    assert node.run("install", "--provisioning", "--services") == 0
    started = set()
    folder = node.root / "etc/systemd/system"
    for path in (*folder.glob("*.service"), folder / artifacts.DROP_IN):
        started |= set(re.findall(r"^ExecStart=(\S+)", path.read_text(), re.MULTILINE))
    programs = (*artifacts.PROGRAMS, artifacts.PROVISIONER, artifacts.AGENT_PROGRAM)
    assert started == {f"{nodes.PROGRAMS}/{name}" for name in programs}


def test_the_agents_unit_and_the_daemons_speak_of_one_socket_and_one_user(node: nodes.Node) -> None:
    """The daemon takes the table from that user alone; the agent may not enter its run directory."""
    assert node.run("install", "--services") == 0
    folder = node.root / "etc/systemd/system"
    agent, part = ((folder / name).read_text() for name in (artifacts.AGENT, artifacts.DROP_IN))
    [sockets] = {tuple(re.findall(r"--cluster-socket (\S+)", text)) for text in (agent, part)}
    assert sockets == ("/run/sriov-cluster/agent.sock",)
    assert (f"User={unix_sockets.AGENT_UID}\n" in agent, "--cluster-uid" in part) == (True, False)
    assert "RuntimeDirectory=sriov-cluster\n" in part


def test_policies_come_by_a_socket_that_the_agents_unit_may_enter(node: nodes.Node) -> None:
    """What docs/systemd.md has people write for the daemon, and what the unit gives the agent."""
    assert node.run("install", "--services") == 0
    agent = (node.root / "etc/systemd/system" / artifacts.AGENT).read_text()
    [told] = re.findall(r'^SRIOV_CNI_OPTIONS="--policy-socket (\S+)"$', PAGE.read_text(), re.MULTILINE)
    assert re.findall(r"--policy-socket (\S+)", agent) == [told]
    [hidden] = re.findall(r"^InaccessiblePaths=(.*)$", agent, re.MULTILINE)
    assert not any(pathlib.Path(told).is_relative_to(each.removeprefix("-")) for each in hidden.split())
    assert told.startswith("/run/sriov-cluster/")


def run(node: nodes.Node, folder: pathlib.Path, *arguments: str, status: int = 0) -> tuple[list[str], str]:
    """With a systemctl that notes how it is called and fails with `status`; the calls, and stderr."""
    folder.mkdir(exist_ok=True)
    program = folder / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$*" >> {shlex.quote(str(folder / "calls"))}\necho no >&2\nexit {status}\n')
    program.chmod(0o755)
    (folder / "calls").write_text("")
    command = [sys.executable, "-m", "sriov_installer", *node.arguments(*arguments)]
    env = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if status else 0), done.stderr
    return (folder / "calls").read_text().splitlines(), done.stderr


def test_units_are_enabled_where_asked_and_disabled_before_they_go(node: nodes.Node, tmp_path: pathlib.Path) -> None:
    named, where = " ".join(artifacts.UNITS), f"--root={node.root}"
    assert run(node, tmp_path / "bin", "install") == ([], "")
    assert run(node, tmp_path / "bin", "install", "--enable")[0] == [f"{where} enable {named}"]
    assert run(node, tmp_path / "bin", "uninstall", "--dry-run")[0] == []
    assert run(node, tmp_path / "bin", "uninstall")[0] == [f"{where} disable {named}"]
    assert run(node, tmp_path / "bin", "uninstall")[0] == []
    assert run(node, tmp_path / "bin", "install", "--enable", "--provisioning")[0] == [
        f"{where} enable {named} {artifacts.PROVISION}"
    ]
    assert run(node, tmp_path / "bin", "uninstall")[0] == [f"{where} disable {named} {artifacts.PROVISION}"]
    assert run(node, tmp_path / "bin", "install", "--enable", "--services")[0] == [
        f"{where} enable {named} {artifacts.AGENT}"
    ]
    assert run(node, tmp_path / "bin", "uninstall")[0] == [f"{where} disable {named} {artifacts.AGENT}"]


def test_what_systemd_says_is_told(node: nodes.Node, tmp_path: pathlib.Path) -> None:
    _, said = run(node, tmp_path / "bin", "install", "--enable", status=1)
    assert "disable" not in said
    assert re.search(r"systemctl --root=\S+ enable .* failed: no; fix that, then run the same command again", said)


def test_a_running_systemd_is_told_and_starts_and_stops_them() -> None:
    running = services.Systemd(pathlib.Path("/"), present=True, running=True)
    named = artifacts.UNITS
    assert running.reloading() == [("systemctl", "daemon-reload")]
    assert running.enabling(named) == [("systemctl", "enable", *named), ("systemctl", "restart", "--no-block", *named)]
    assert running.disabling(named) == [("systemctl", "disable", "--now", *named)]


def test_installing_changes_no_nic() -> None:
    """The unit that makes VFs is enabled and not started."""
    running = services.Systemd(pathlib.Path("/"), present=True, running=True)
    enable, restart = running.enabling([*artifacts.UNITS, artifacts.PROVISION])
    assert (artifacts.PROVISION in enable, artifacts.PROVISION in restart) == (True, False)


def test_without_systemctl_nothing_can_be_enabled(node: nodes.Node, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "sriov_installer", *node.arguments("install", "--enable")]
    env = {"PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "there is no systemctl" in done.stderr) == (1, True)


def attach(node: nodes.Node, pci: str = "0000:01:10.0", namespace: str = "blue", pod: str = "db-0") -> ledger.Ledger:
    """A pod holds a VF, as far as the ledger knows."""
    book = ledger.Ledger(node.root / "run/sriov")
    book.create()
    owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns="/run/netns/x")
    book.write(
        ledger.Record(
            pci=devices.pci_address(pci),
            owner=msgspec.structs.replace(owner, namespace=namespace, pod=pod),
            netns=(4, 5),
            home=vf_identity.VfIdentity(name="ens1f0v0", address="02:00:00:00:00:01", mtu=1500),
            wanted=settings.BASELINE,
            mtu=1500,
        )
    )
    return book


def test_nothing_goes_while_pods_hold_vfs(node: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.run("install") == 0
    book, before = attach(node), node.files()
    assert node.run("uninstall") == 1
    assert "pods still hold VFs: blue/db-0 (0000:01:10.0); drain" in capsys.readouterr().err
    assert node.files() == before
    assert node.run("uninstall", "--leave-attachments") == 0
    assert not node.shim.exists()
    assert list(book.records()), "whoever comes next knows nothing of the pod"
    book.remove(devices.pci_address("0000:01:10.0"))
    assert node.run("uninstall") == 0
    assert not (node.root / "run/sriov").exists()


def test_a_refusal_names_each_pod_once_and_says_how_many_more(
    node: nodes.Node, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest by what is known: a runtime without Kubernetes names no pod, and a record may be damaged."""
    assert node.run("install") == 0
    attach(node, "0000:01:10.0")
    attach(node, "0000:01:10.2")
    attach(node, "0000:01:10.4", "", "")
    attach(node, "0000:01:10.6")
    (node.root / "run/sriov/vfs/0000:01:10.6.json").write_text("{")
    for number in range(4):
        attach(node, f"0000:01:11.{number}", "green", f"web-{number}")
    assert node.run("uninstall") == 1
    assert capsys.readouterr().err == (
        "sriov-underlay: pods still hold VFs: blue/db-0 (0000:01:10.0, 0000:01:10.2),"
        " a pod that is only known as container c1 (0000:01:10.4),"
        " an unknown pod, whose record is damaged (0000:01:10.6),"
        " green/web-0 (0000:01:11.0), green/web-1 (0000:01:11.1), 2 more;"
        " drain the node, or give --leave-attachments if another installation takes them over\n"
    )


def attached_by_sriov_cni(node: nodes.Node) -> None:
    folder = node.root / "var/lib/cni/sriov"
    (folder / "pci").mkdir(parents=True)
    (folder / "0123abcd-net1").write_text('{"name": "n1", "deviceID": "0000:01:10.0"}')
    (folder / "pci/0000:01:10.0").write_text("/run/netns/x")
    (node.root / "run/netns").mkdir(parents=True)
    (node.root / "run/netns/x").touch()


def test_nothing_goes_while_pods_hold_vfs_that_sriov_cni_attached_and_it_does_not_come_back(
    node: nodes.Node, capsys: pytest.CaptureFixture[str]
) -> None:
    """It wrote no pod down. Its files outlive a reboot: without its namespace no pod is there."""
    assert node.run("install") == 0
    attached_by_sriov_cni(node)
    assert node.run("uninstall") == 1
    told = "pods still hold VFs: a pod that is only known as container 0123abcd (0000:01:10.0); drain the node"
    assert told in capsys.readouterr().err
    (node.root / "run/netns/x").unlink()
    assert node.run("uninstall") == 0


def test_sriov_cni_that_comes_back_takes_its_own_vfs_back(node: nodes.Node) -> None:
    node.shim.write_text("sriov-cni")
    attached_by_sriov_cni(node)
    assert node.run("uninstall") == 0
    assert node.run("install", "--replace-incumbent") == 0
    assert node.run("uninstall") == 0
    assert node.shim.read_text() == "sriov-cni"


def test_a_container_that_takes_its_shim_away_asks_nothing(node: nodes.Node) -> None:
    assert node.run("install", "--shim-only") == 0
    attach(node)
    assert node.run("uninstall", "--shim-only") == 0
    assert not node.shim.exists()


def test_of_the_run_directory_what_is_ours_goes_and_nothing_else(
    node: nodes.Node, capsys: pytest.CaptureFixture[str]
) -> None:
    """--run-dir may name a folder of somebody else's."""
    assert node.run("install") == 0
    shared = node.root / "var/lib/shared"
    book = ledger.Ledger(shared)
    book.create()
    others = (
        *("precious.db", "vfs/notes.txt", "homes/of-people.json", "sub/cni.sock", "recent.jsonl.bak"),
        *("claims/of-people.json", "attached/notes.json", "claimed/notes.json"),
    )
    for name in others:
        (shared / name).parent.mkdir(exist_ok=True)
        (shared / name).write_text("x")
    outside = node.root / "outside.json"
    outside.write_text("x")
    (shared / "homes/0000:01:10.1.json").symlink_to(outside)
    for name in (
        "homes/0000:01:10.0.json",
        "vfs/.try",
        "vfs/0000:01:10.0.tmp",
        "recent.jsonl",
        "trouble.json",
        "policies.json",
    ):
        (shared / name).write_text("{}")
    assert node.run("uninstall", "--run-dir", "/var/lib/shared", "--dry-run") == 0
    assert f"would remove our files, and leave those of others, in {shared}" in capsys.readouterr().out
    assert node.run("uninstall", "--run-dir", "/var/lib/shared") == 0
    left = {str(path.relative_to(shared)) for path in shared.rglob("*") if not path.is_dir() or path.is_symlink()}
    assert left == {*others, "homes/0000:01:10.1.json"}
    assert outside.read_text() == "x"
    assert not (shared / "defaults").exists()


def test_nothing_is_left_of_a_daemon_that_was_killed(node: nodes.Node, tmp_path: pathlib.Path) -> None:
    """A file of the daemons that this does not know would keep the run directory there."""
    run_dir = node.root / "run/sriov"

    async def body() -> None:
        async with test_process.started(tmp_path, f"--run-dir={run_dir}") as process:
            await loops.until((run_dir / "cni.sock").is_socket, 20)
            client = harness.Client(run_dir / "cni.sock", "", "")
            await asyncio.to_thread(client.call, "DEL", harness.configuration("x"))
            await loops.until((run_dir / "recent.jsonl").exists, 10)
            process.kill()
            await process.wait()

    loops.run(body(), timeout=60)
    assert (run_dir / "cni.sock").is_socket()
    (run_dir / "homes/0000:01:10.0.json").write_text("{}")
    (run_dir / "cluster").mkdir()
    for name in ("agent.sock", ".agent.sock.4711", "policies.sock", ".policies.sock.4711"):
        (run_dir / "cluster" / name).touch()
    ours = ("attached/0000:01:10.0.json", "claimed/eth0@0a1b2c.json", "claimed/eth0@0a1b2c.tmp")
    for name in (*ours, f"claims/{uuid.uuid4()}.json", f"claims/{uuid.uuid4()}.tmp"):
        (run_dir / name).parent.mkdir(exist_ok=True)
        (run_dir / name).write_text("{}")
    assert node.run("install") == 0
    assert node.run("uninstall") == 0
    assert not run_dir.exists()
