"""The program as a whole: help, completion, exit statuses, and how an answer is shown."""

import io
import json
import subprocess
import sys

import click
import pytest
import yaml

from sriovctl import app, exit_codes, output
from tests.sriovctl import nodes

TABLE = output.Table(
    (output.Column("PF"), output.Column("DRIVER", wide=True), output.Column("STATE")),
    ((output.cell("enp1s0"), output.cell(None), output.cell("up", output.Tone.GOOD)),),
)

DOCUMENT = {"apiVersion": "sriovctl/v1", "kind": "Things", "items": [{"pf": "enp1s0"}]}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(form: output.OutputFormat, stream: io.StringIO, **environ: str) -> str:
    output.show(form, TABLE, DOCUMENT, stream, {"TERM": "xterm", **environ})
    return stream.getvalue()


def test_a_pipe_gets_whole_cells_and_no_escape_sequence() -> None:
    assert shown(output.OutputFormat.TABLE, io.StringIO()) == "PF      STATE\nenp1s0  up\n"
    assert shown(output.OutputFormat.WIDE, io.StringIO()) == "PF      DRIVER  STATE\nenp1s0  -       up\n"


def test_a_terminal_gets_colours_unless_no_color() -> None:
    assert "\x1b[32mup" in shown(output.OutputFormat.TABLE, Terminal())
    assert "\x1b[32m" not in shown(output.OutputFormat.TABLE, Terminal(), NO_COLOR="1")


def test_a_terminal_gets_the_lines_of_a_pipe_where_they_fit_and_shorter_ones_where_not() -> None:
    piped = shown(output.OutputFormat.WIDE, io.StringIO()).splitlines()
    fits = len(piped[0])
    wide, narrow = (
        [
            line.rstrip()
            for line in click.unstyle(shown(output.OutputFormat.WIDE, Terminal(), COLUMNS=columns)).splitlines()
        ]
        for columns in (str(fits), str(fits - 1))
    )
    assert wide == piped
    assert narrow == ["PF      enp1s0", "STATE   up"]


def test_a_terminal_that_is_dumb_gets_no_escape_sequence() -> None:
    assert "\x1b" not in shown(output.OutputFormat.TABLE, Terminal(), TERM="dumb")


def test_json_and_yaml_are_the_same_document() -> None:
    assert json.loads(shown(output.OutputFormat.JSON, io.StringIO())) == DOCUMENT
    assert yaml.safe_load(shown(output.OutputFormat.YAML, io.StringIO())) == DOCUMENT


def test_a_wrong_command_line_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--no-such-option"]) == exit_codes.Exit.USAGE
    assert "--no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_has_the_commands_first_and_their_summaries_whole(width: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sriovctl", "--help"],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": str(width)}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert done.index("\nCommands:") < done.index("\nOptions:")
    assert "..." not in done.partition("Commands:")[2]
    assert (
        "what keeps pods from their VFs: hardware, IOMMU, kernel, drivers, kubelet, CNI, network managers."
        in " ".join(done.split())
    )


def test_every_exit_status_has_its_meaning() -> None:
    assert set(exit_codes.MEANING) == set(exit_codes.Exit)


def test_help_comes_without_what_takes_long_to_import() -> None:
    """grpc and pyroute2 take a tenth of a second each, and completion asks the program at every TAB."""
    slow = "{'grpc', 'pyroute2', 'yaml'}"
    code = f"import sys; from sriovctl import app; app.main(['--help']); sys.exit(bool({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--run-dir" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_each_shell(shell: str) -> None:
    environment = {"_SRIOVCTL_COMPLETE": f"{shell}_source", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-m", "sriovctl"], env=environment, capture_output=True, text=True, check=False
    )
    assert "_SRIOVCTL_COMPLETE" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("explain d", ["default/web"]),
        ("explain 0000:01:10.", ["0000:01:10.0", "0000:01:10.2", "0000:01:10.4", "0000:01:10.6"]),
        ("explain default/web --resource in", ["intel.com/rail_a"]),
        ("inventory --pf e", ["enp1s0"]),
        ("inventory --pool i", ["intel.com/rail_a"]),
        ("attachments release 0", ["0000:01:10.0"]),
        ("topology --nccl de", ["default/web"]),
        ("--sysfs /nowhere explain d", []),
    ],
)
def test_completion_knows_what_is_on_the_node(node: nodes.Node, line: str, candidates: list[str]) -> None:
    node.give("web", node.vf)
    with node.serving(), node.kubelet():
        assert node.cni("ADD").code == 0
        words = ["sriovctl", *node.places, *line.split()]
        environment = {
            "_SRIOVCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
            "PATH": "/usr/bin:/bin",
        }
        command = [sys.executable, "-m", "sriovctl"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [each.partition(",")[2] for each in done.stdout.split()] == candidates
