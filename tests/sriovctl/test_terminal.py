"""The tables in a real terminal of 60, 80, 120 and 200 columns: no line is too long, and what is copied is whole."""

import pathlib
import re
import sys
import time
from collections.abc import Iterator

import pytest

from sriov.state import policy_notes
from tests import conftest, terminals
from tests.sriovctl import nodes, test_page

WIDTHS = (60, 80, 120, 200)
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
WHOLE = {
    ("inventory",): ("0000:01:10.0", "0000:01:11.4", "intel.com/rail_a", "default/web"),
    ("inventory", "-o", "wide"): (
        "0000:01:10.0",
        "intel.com/rail_a",
        "default/web",
        "02:00:00:02:00:00",
        "web-sandbox",
    ),
    ("attachments",): ("0000:01:10.0", "attached", "default/web"),
    ("doctor",): ("vf-no-driver", "0000:01:11.4", "echo PCI > /sys/bus/pci/drivers_probe"),
    ("explain", "default/late"): ("intel.com/rail_a", "0000:01:10.2", "10-sriov.conf", "0-4094"),
    ("explain", "01:10.0"): ("0000:01:10.0", "default/web"),
    ("policy", "web"): ("10.1.0.9", "10.1.0.12", "default/from-front", "default/quiet"),
    ("policy", "web", "--from", "10.1.0.20", "--port", "80"): ("10.1.0.20", "default/from-front", "default/quiet"),
}


@pytest.fixture(scope="module")
def told() -> Iterator[nodes.Node]:
    """The node of the page, with its story; whatever is asked is asked once more in a terminal."""
    with conftest.in_memory("ctl-") as folder, test_page.told(pathlib.Path(folder)) as node:
        notes = policy_notes.NoteFile(node.folder / "run")
        while (found := notes.read()) is None or not any(each.digest for each in found.pods):
            time.sleep(0.05)  # a process cannot enter the pod in memory: it takes the daemon's word
        yield node


def screen(node: nodes.Node, width: int, *arguments: str, **environ: str) -> str:
    """What the program writes to a terminal of this width."""
    command = [sys.executable, "-m", "sriovctl", *node.places, *arguments]
    status, written = terminals.screen(command, width, environ)
    assert status in (0, 1)
    return written


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", WHOLE, ids=" ".join)
def test_what_is_copied_is_whole(told: nodes.Node, command: tuple[str, ...], width: int) -> None:
    shown = _ESCAPE.sub("", screen(told, width, *command))
    assert [each for each in WHOLE[command] if each not in shown] == []
    table = shown.partition("\n\n")[0].splitlines()
    if table[0].split()[0] in ("DEVICE", "SEVERITY", "QUESTION", "INTERFACE") and len(table[0].split()) > 2:
        assert max(map(len, table)) <= width


@pytest.mark.parametrize(("width", "left"), [(60, 9), (80, 6), (120, 4), (200, 0)])
def test_the_inventory_says_what_it_leaves_out(told: nodes.Node, width: int, left: int) -> None:
    shown = " ".join(_ESCAPE.sub("", screen(told, width, "inventory")).split())
    named = re.findall(r"no room for (.*): widen the terminal, or use --output wide", shown)
    assert len(named[0].split(", ") if named else []) == left, shown


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_no_escape_sequence_where_none_is_wanted(told: nodes.Node, environ: dict[str, str]) -> None:
    assert "\x1b[32m" in screen(told, 80, "inventory")
    assert "\x1b" not in screen(told, 80, "inventory", **environ)
