"""`sriovctl provision` on a node in memory: what is shown, what is asked, and the exit status."""

import fcntl
import json
import pathlib
from collections.abc import Iterator

import pytest

from sriov import devices, errors
from sriov.provisioning import document, steps
from sriovctl import app, exit_codes, output
from sriovctl.commands import provision_apply
from sriovctl.views import plans
from tests.sriov.provisioning import nodes

FILE = """
policies:
- name: rails
  selector: {pfNames: [eth1]}
  numVfs: 3
  trust: true
"""


WANTED = document.parse(FILE.encode(), "node.yaml")


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Iterator[nodes.Node]:
    with nodes.made(tmp_path, 2) as made:
        yield made


def step(vf: int | None, after: object, pf: str = "0000:01:00.0") -> steps.ProvisioningStep:
    label = "eth1" if vf is None else f"eth1#{vf}"
    return steps.ProvisioningStep(steps.Act.TRUST, devices.pci_address(pf), label, vf, None, after)


def test_neighbours_are_one_line() -> None:
    planned = [step(0, "a"), step(1, "b"), step(3, "c"), step(4, "c"), step(None, "c"), step(5, "d", "0000:02:00.0")]
    rows = [[cell.text for cell in row] for row in plans.table(planned).rows]
    assert rows == [
        ["eth1#0-1", "trust", "-", "a … b"],
        ["eth1#3-4", "trust", "-", "c"],
        ["eth1", "trust", "-", "c"],
        ["eth1#5", "trust", "-", "d"],
    ]


def test_a_file_that_cannot_be_used(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("policies: 7")
    assert app.main(["provision", "--plan", str(tmp_path / "bad.yaml")]) == exit_codes.Exit.USAGE
    assert "policies is '7'" in capsys.readouterr().err


def test_the_plan_is_shown_and_done_and_then_there_is_nothing_to_do(
    node: nodes.Node, capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision_apply.carry_out(node.machine, WANTED, output.OutputFormat.TABLE, yes=True) == exit_codes.Exit.FINE
    shown = capsys.readouterr()
    assert [line.split() for line in shown.out.splitlines()] == [
        ["DEVICE", "SETTING", "NOW", "THEN"],
        ["eth1", "numVfs", "2", "0"],
        ["eth1", "numVfs", "0", "3"],
        ["eth1#0-2", "defaults", "-", "trust", "true"],
        ["eth1#0-2", "trust", "-", "true"],
    ]
    assert shown.err.endswith("done: 8 steps\n")
    assert len(node.pf().vfs) == 3
    assert provision_apply.carry_out(node.machine, WANTED, output.OutputFormat.TABLE, yes=True) == exit_codes.Exit.FINE
    assert capsys.readouterr() == ("", "nothing to do: the node is as the file declares\n")


def test_without_a_terminal_nobody_can_say_yes(node: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        provision_apply.carry_out(node.machine, WANTED, output.OutputFormat.TABLE, yes=False) == exit_codes.Exit.REFUSED
    )
    assert "stdin is not a terminal; use --yes" in capsys.readouterr().err
    assert len(node.pf().vfs) == 2


def test_under_a_pod_it_is_refused_with_its_name(node: nodes.Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.pods[node.pf().vfs[1].pci] = "default/web-0"
    assert (
        provision_apply.carry_out(node.machine, WANTED, output.OutputFormat.JSON, yes=True) == exit_codes.Exit.REFUSED
    )
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert (found["kind"], found["items"], found["applying"]) == ("ProvisionPlan", [], True)
    assert "eth1#1 by pod default/web-0" in found["refusals"][0]
    assert f"refused: {found['refusals'][0]}" in shown.err
    assert len(node.pf().vfs) == 2


def test_two_at_once(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second finds the lock of the first."""
    (tmp_path / "file.yaml").write_text(FILE)
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    words = ["--run-dir", str(run), "provision", "--apply", "--yes", str(tmp_path / "file.yaml")]
    with (run / "provision.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert app.main(words) == exit_codes.Exit.UNREADABLE
    assert "another `sriovctl provision --apply` is running; wait until it ends" in capsys.readouterr().err


def test_a_step_that_fails_is_an_error(node: nodes.Node) -> None:
    node.writes.refuse["sriov_numvfs"] = 12
    with pytest.raises(errors.SriovError, match=r"step 1 of 8 failed, to set numVfs of eth1 to 0"):
        provision_apply.carry_out(node.machine, WANTED, output.OutputFormat.TABLE, yes=True)
