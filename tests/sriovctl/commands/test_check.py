"""check: each kind of file is told by its keys and judged by the program that reads it; what is wrong is named."""

import io
import json
import pathlib
import subprocess
import sys

import pytest

from sriovctl import exit_codes
from sriovctl.checks import files
from tests.examples import table
from tests.sriovctl import nodes

CONFIG = {"resourceList": [{"resourceName": "rail_a", "selectors": {"pfNames": ["ens1f0"]}}]}
POLICY = {"rules": [{"pfs": ["ens1f0"], "vlans": ["100-199"]}]}
NETWORK = {"cniVersion": "1.0.0", "name": "n1", "type": "sriov", "resourceName": "rail_a", "vlan": 7}
PROVISIONING = "policies:\n- name: a\n  selector: {pfNames: [ens1f0]}\n  numVfs: 4\n"
DEFINITION = {
    "apiVersion": "k8s.cni.cncf.io/v1",
    "kind": "NetworkAttachmentDefinition",
    "metadata": {"name": "rail-a", "annotations": {"k8s.v1.cni.cncf.io/resourceName": "intel.com/rail_a"}},
}


def judged(found: object, kind: files.FileKind | None = None) -> list[files.FileVerdict]:
    text = found if isinstance(found, str) else json.dumps(found)
    return files.judge(text.encode(), "f", kind, "intel.com")


def definition(**network: object) -> dict[str, object]:
    return {**DEFINITION, "spec": {"config": json.dumps({"cniVersion": "1.0.0", "type": "sriov", **network})}}


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (CONFIG, files.FileKind.CONFIG),
        (POLICY, files.FileKind.POLICY),
        (NETWORK, files.FileKind.NETWORK),
        ({"cniVersion": "1.0.0", "name": "n1", "plugins": [NETWORK, {"type": "tuning"}]}, files.FileKind.NETWORK),
        (PROVISIONING, files.FileKind.PROVISIONING),
        (definition(vlan=7), files.FileKind.NETWORK),
    ],
)
def test_each_kind_is_told_by_its_keys(found: object, kind: files.FileKind) -> None:
    [verdict] = judged(found)
    assert (verdict.kind, verdict.errors, verdict.warnings) == (kind, (), ())


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"resourceList": [{"resourceName": "rail a"}]}, "resourceName"),
        ({"rules": [{"vlan": ["1"]}]}, "unknown field `vlan`"),
        ({"defaults": {"policy": "on"}}, "Invalid enum value 'on'"),
        ({"rules": [{"policyRaw": ["true"]}]}, "Expected `bool`, got `str`"),
        ({"rules": [{"vlans": ["x"]}]}, "vlans 'x' is neither a VLAN nor a range"),
        ({**NETWORK, "vlan": 5000}, "vlan id 5000 invalid"),
        ({"cniVersion": "1.0.0", "name": "n1", "type": "bridge"}, "no plugin of type sriov"),
        ("policies:\n- name: a\n  selector: {pfNames: [x]}\n  numVf: 4\n", "numVf"),
        (definition(spoofchk="maybe"), "spoofchk 'maybe' is neither on nor off"),
        ({**DEFINITION, "spec": {"config": "{"}}, "it is not JSON"),
        ("{", "neither JSON nor YAML"),
        ("a: [", "neither JSON nor YAML"),
        ({"resources": []}, "these programs read nothing like it"),
        ("", "these programs read nothing like it"),
        ("just words", "these programs read nothing like it"),
    ],
)
def test_what_a_program_would_refuse_is_named(found: object, says: str) -> None:
    [verdict] = judged(found)
    assert says in "\n".join(verdict.errors), verdict


def test_what_is_only_strange_is_a_warning() -> None:
    [network] = judged({**NETWORK, "vlann": 3})
    [config] = judged({"resourceList": [{**CONFIG["resourceList"][0], "odd": 1}]})
    assert (network.errors, "did you mean 'vlan'" in network.warnings[0]) == ((), True)
    assert (config.errors, "odd" in config.warnings[0]) == ((), True)


def test_a_device_that_multus_fills_in() -> None:
    [named] = judged({key: value for key, value in NETWORK.items() if key != "resourceName"})
    assert (named.errors, "Multus has to fill it in" in named.warnings[0]) == ((), True)
    [without] = judged({**definition(), "metadata": {"name": "rail-a"}})
    assert "annotated with k8s.v1.cni.cncf.io/resourceName" in without.warnings[0]


def test_every_part_of_a_manifest() -> None:
    data = {"config.json": json.dumps(CONFIG), "policy.json": "{", "provision.yaml": PROVISIONING, "notes": "{"}
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}
    daemon = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}}
    told = judged({"apiVersion": "v1", "kind": "List", "items": [held, daemon, definition(vlan=5000)]})
    assert [(each.source, bool(each.errors)) for each in told] == [
        ("f: ConfigMap c, config.json", False),
        ("f: ConfigMap c, policy.json", True),
        ("f: ConfigMap c, provision.yaml", False),
        ("f: NetworkAttachmentDefinition rail-a", True),
    ]
    assert judged("\n---\n".join(map(json.dumps, [held, daemon, definition(vlan=5000)]))) == told
    assert judged(daemon) == [files.FileVerdict("f", None)]


STRANGE = {"apiVersion": "v1", "metadata": [1], "data": [1], "spec": [1]}


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "[1]", "{}", "null", '{"kind": "List", "items": null}', '{"plugins": 7}', "[" * 100_000, "\xff"),
        *(json.dumps({**STRANGE, "kind": kind, "items": 7}) for kind in ("List", "NetworkAttachmentDefinition")),
        json.dumps({**STRANGE, "kind": "List", "items": [{**STRANGE, "kind": "NetworkAttachmentDefinition"}, 7]}),
    ],
    ids=lambda text: text[:40],
)
@pytest.mark.parametrize("kind", [None, *files.FileKind])
def test_whatever_is_in_a_file_there_is_a_verdict(text: str, kind: files.FileKind | None) -> None:
    assert [bool(each.errors or each.warnings) for each in judged(text, kind)] == [True]


def test_the_command(node: nodes.Node, tmp_path: pathlib.Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps(CONFIG))
    (tmp_path / "bad.json").write_text(json.dumps({**NETWORK, "vlan": 5000, "vlann": 3}))
    good, bad, none = (str(tmp_path / name) for name in ("good.json", "bad.json", "none"))
    assert node.run("check", good) == nodes.Ran(0, f"{good} (config): fine\n", "")
    ran = node.run("check", good, bad, none)
    assert (ran.status, len(ran.out.splitlines())) == (exit_codes.Exit.TROUBLE, 4)
    assert f"{bad} (network): vlan id 5000 invalid" in ran.out
    assert f"{bad} (network): warning: key 'vlann'" in ran.out
    assert f"{none}: it cannot be read: No such file or directory" in ran.out
    document = node.run("check", bad, "-o", "json").document
    assert [(each["file"], each["kind"], len(each["errors"])) for each in document["items"]] == [(bad, "network", 1)]
    assert node.run("check", "--kind", "policy", good).status == exit_codes.Exit.TROUBLE
    assert node.run("check").status == exit_codes.Exit.USAGE


def test_the_installer_has_it_too_and_both_read_stdin() -> None:
    [example] = table.run_by(__file__, "test_the_installer_has_it_too_and_both_read_stdin")
    assert example.command == "sriov-underlay check"
    for program in ("sriovctl", "sriov_installer"):
        judges_stdin(program)


def judges_stdin(program: str) -> None:
    command = [sys.executable, "-m", program, "check", "-", "-o", "json"]
    done = subprocess.run(command, input=json.dumps(POLICY), capture_output=True, text=True, check=True)
    assert json.load(io.StringIO(done.stdout))["items"] == [
        {"file": "-", "kind": "policy", "errors": [], "warnings": []}
    ]


def test_no_module_of_the_working_directory_is_run(tmp_path: pathlib.Path) -> None:
    """The installed program has its own folder in front, and not the one in which root happens to be."""
    (tmp_path / "sriovctl").mkdir()
    for name in ("__init__.py", "__main__.py"):
        (tmp_path / "sriovctl" / name).write_text("raise SystemExit('theirs')")
    code = "import sys; from sriov_installer.__main__ import main; sys.exit(main(['check', '-']))"
    command = [sys.executable, "-P", "-c", code]
    environment = {"PYTHONPATH": str(pathlib.Path(__file__).parents[3])}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, input=json.dumps(POLICY), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "- (policy): fine\n", "")
