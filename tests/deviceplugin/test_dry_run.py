"""A dry run: every device, where it goes, and why not elsewhere. Run as the process that people run."""

import importlib
import json
import pathlib
import shlex
import subprocess
import sys

import pytest

from sriov import devices
from sriov.hardware import sysfs
from sriovctl.views import documents
from tests import terminals
from tests.examples import table
from tests.sriov.pools import facts

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def node(tmp_path: pathlib.Path) -> facts.Machine:
    machine = facts.Machine(tmp_path)
    machine.sys.add_pf("0000:01:00.0", facts.PF0, numvfs=3)
    machine.sys.add_plain_nic("0000:04:00.0", sysfs.Netdev("eno1", 9, "52:54:00:00:00:04", 1500))
    machine.proc.route("eno1", "0.0.0.0/0")
    machine.sys.set_driver(devices.pci_address("0000:01:10.2"), None)
    return machine


def run(node: facts.Machine, config: object, *flags: str) -> tuple[int, str]:
    (node.root / "config.json").write_text(config if isinstance(config, str) else json.dumps({"resourceList": config}))
    return typed(node, "sriov-device-plugin --dry-run --config-file config.json", *flags)


def typed(node: facts.Machine, line: str, *flags: str) -> tuple[int, str]:
    """Where the configuration is, with the places of this node."""
    places = [f"--sysfs={node.root}/sys", f"--procfs={node.root}/proc", f"--dev={node.root}/dev"]
    command = [sys.executable, "-m", "deviceplugin", *shlex.split(line)[1:], *places, *flags]
    done = subprocess.run(
        command, cwd=node.root, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_profiles_that_no_nic_tells_are_a_warning(node: facts.Machine) -> None:
    code, told = run(node, [{"resourceName": "a", "selectors": {"ddpProfiles": ["COMMS"]}}])
    assert code == 0
    assert "warning: ddpProfiles matches nothing: " in told
    assert "intel.com/a: 0 devices, NOTHING MATCHES" in told


CONFIG = [
    {"resourceName": "first", "selectors": {"pfNames": ["enp1s0#0-1"]}},
    {"resourceName": "fpga", "deviceType": "accelerator"},
    {"resourceName": "every", "selectors": {}, "sriovMode": True},
]


def test_as_a_table(node: facts.Machine) -> None:
    code, told = run(node, CONFIG)
    lines = {line.split()[0]: line for line in told.splitlines()}
    assert code == 0
    assert lines["0000:01:10.0"].split()[1:7] == ["VF", "enp1s0#0", "igbvf", "-", "intel.com/first", "Healthy"]
    assert lines["0000:01:10.2"].split()[1:] == [
        *("VF", "enp1s0#1", "-", "-", "intel.com/first", "Unhealthy", "has", "no", "driver"),
    ]
    assert lines["0000:01:10.4"].split()[5] == "intel.com/every"
    assert "it carries traffic of the host: eno1 carries the host's default route (IPv4)" in lines["0000:04:00.0"]
    assert "it is a PF whose VFs are for pods" in lines["0000:01:00.0"]
    assert "intel.com/fpga: 0 devices, NOTHING MATCHES" in told
    assert "warning:" in told
    assert "resourceList[2].sriovMode is not a known key" in told


def test_as_json(node: facts.Machine) -> None:
    code, told = run(node, CONFIG, "--output", "json")
    found = json.loads(told)
    assert (code, found["errors"]) == (0, [])
    assert found["resources"] == {"intel.com/first": 2, "intel.com/fpga": 0, "intel.com/every": 1}
    rows = {row["device"]: row for row in found["devices"]}
    assert rows["0000:01:10.0"]["why_not"] == {
        "intel.com/fpga": "the pool is of type accelerator, it is a VF",
        "intel.com/every": "intel.com/first comes first in the file",
    }
    assert rows["0000:01:10.4"]["why_not"]["intel.com/first"] == "pfNames: it is enp1s0#2"
    assert rows["0000:04:00.0"]["resource"] is None


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_on_a_terminal_what_is_copied_is_whole(node: facts.Machine, width: int) -> None:
    (node.root / "config.json").write_text(json.dumps({"resourceList": CONFIG[:2]}))
    places = [f"--sysfs={node.root}/sys", f"--procfs={node.root}/proc", f"--dev={node.root}/dev"]
    command = [sys.executable, "-m", "deviceplugin", "--dry-run", "--config-file=config.json", *places]
    status, shown = terminals.screen(command, width, {"PYTHONPATH": str(ROOT)}, cwd=node.root)
    listed, _, _ = shown.partition("intel.com/first: 2 devices")
    assert status == 0
    assert max(map(len, listed.splitlines())) <= width or width == 40
    assert all(each in listed for each in ("0000:01:10.0", "0000:04:00.0", "intel.com/first"))
    assert "it carries traffic of the host: eno1 carries" in " ".join(listed.split()) or width > 40
    assert ("no room for " in listed) == (width in (60, 80))
    assert listed.startswith("DEVICE")


@pytest.mark.parametrize("config", [CONFIG, [{"resourceName": "x_"}]])
def test_the_document_is_as_sriovctls_schema_says(node: facts.Machine, config: object) -> None:
    """Its first keys stay as they were."""
    _, told = run(node, config, "--output", "json")
    found = json.loads(told)
    assert list(found)[:2] == ["apiVersion", "kind"]
    assert (found["apiVersion"], found["kind"], found["unseen"]) == ("sriovctl/v1", "DryRun", [])
    assert {"errors", "warnings", "resources", "devices"} <= set(found)
    assert all(each["whyNot"] == each["why_not"] for each in found["devices"])
    importlib.import_module("jsonschema").validate(found, documents.schema())


@pytest.mark.parametrize("output", ["table", "json"])
def test_every_error_at_once_and_the_exit_status(node: facts.Machine, output: str) -> None:
    bad = [{"resourceName": "x_"}, {"resourceName": "b", "deviceType": "fpga", "selectors": {"pfNames": ["p#"]}}]
    code, told = run(node, bad, "--output", output)
    lines = json.loads(told)["errors"] if output == "json" else told.splitlines()
    assert code == 1
    assert [line.split()[1] for line in lines] == [
        "resourceList[0].resourceName",
        "resourceList[1].deviceType",
        "resourceList[1].selectors.pfNames[0]",
    ]


def test_a_node_without_sysfs(node: facts.Machine) -> None:
    code, told = run(node, CONFIG, "--sysfs", "/proc/nowhere")
    assert code == 1
    assert "there is no /proc/nowhere/bus/pci/devices; is sysfs mounted there? name it with --sysfs" in told


def test_the_page_shows_what_is_printed(node: facts.Machine) -> None:
    """docs/deviceplugin.md, where only some of the devices are shown and `…` is the rest of a line."""
    [example] = table.run_by(__file__, "test_the_page_shows_what_is_printed")
    shown = example.printed.splitlines()
    (node.root / "config.json").write_text(json.dumps({"resourceList": CONFIG[:1]}))
    _, told = typed(node, example.command)
    printed = [line.rstrip() for line in told.splitlines()]
    assert len(shown) > 3
    for line in shown:
        assert [each for each in printed if each.startswith(line.rstrip("…")) and (line.endswith("…") or each == line)]
