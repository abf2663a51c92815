"""The demo on veths: the processes, the shim and host-local as a user gets them, in real namespaces."""

import json
import pathlib
import re
import shlex
import subprocess

import pytest

from hack.pages import terminals
from hack.story import recording, terminal
from tests.examples import table

DEMO = pathlib.Path(__file__).parents[2] / "hack/demo"
PROMISED = {
    *("ping_same_vlan", "ping_cross_pf", "ping_other_vlan_blocked", "mac_applied", "vlan_applied"),
    *("restored_after_del", "restored_after_netns_death", "clean_after_hostile_pod", "passed"),
}


def promises(told: str) -> list[str]:
    """What is kept, without what is different each time and without spaces."""
    kept = [re.sub(r"\s", "", line) for line in told.splitlines() if "✔" in line]
    assert len(kept) > 5
    return kept


@pytest.mark.root
def test_the_story_on_veths(tmp_path: pathlib.Path) -> None:
    """Others may have such a node at this moment, so this one's namespaces are in a folder of their own."""
    [line] = {each.command.removeprefix("./") for each in table.run_by(__file__, "test_the_story_on_veths")}
    alone = 'mkdir -p /run/netns; mount -t tmpfs none /run/netns; out=$1; shift; "$@"; ls /run/netns > "$out"'
    command = ["unshare", "--mount", "sh", "-euc", alone, "sh", str(tmp_path / "left"), *shlex.split(line)]
    command += ["--json", str(tmp_path / "demo.json"), "--record", str(tmp_path / "demo.cast")]
    done = subprocess.run(command, cwd=DEMO.parents[1], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo.json").read_text())
    assert {key for key in PROMISED if report[key] is True} == PROMISED
    assert (report["vfs_discovered"], report["resources_registered"], report["pods_attached"]) == (14, 2, 4)
    assert "red-1 → red-2: same VLAN, same PF: an answer" in done.stdout
    drawn = terminals.words((DEMO.parents[1] / "docs/images/demo.svg").read_text())
    assert [line for line in promises(done.stdout) if line not in drawn] == [], "hack/gen-docs --demo draws it again"
    assert (tmp_path / "left").read_text() == ""
    header, *events = map(json.loads, (tmp_path / "demo.cast").read_text().splitlines())
    assert (header["version"], header["title"]) == (2, "hack/demo --mock")
    assert [when for when, _, _ in events] == sorted(when for when, _, _ in events)
    shown = "".join(text for _, kind, text in events if kind == "o")
    assert promises(re.sub(r"\x1b\[[\d;]*m", "", shown)) == promises(done.stdout)


def test_a_picture_and_a_cast_have_what_was_printed(tmp_path: pathlib.Path) -> None:
    recorded = recording.Recording()
    told = terminal.Terminal(recorded)
    told.title("The title")
    told.fact(true=True, text="this <&> that")
    recorded.save(tmp_path / "it.svg", "hack/demo")
    drawn = (tmp_path / "it.svg").read_text()
    assert [each for each in ("Thetitle", "✔this<&>that", "hack/demo") if each not in terminals.words(drawn)] == []
    recorded.save(tmp_path / "it.cast", "hack/demo")
    header = json.loads((tmp_path / "it.cast").read_text().splitlines()[0])
    assert header == {"version": 2, "width": len("   ✔ this <&> that"), "height": 3, "title": "hack/demo"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--jsn"], "unknown option --jsn; see hack/demo --help"),
        (["--json"], "--json needs a FILE"),
        (["--json", "/nonexistent/x.json"], "there is no directory /nonexistent for --json"),
        (["--record"], "--record needs a FILE"),
        (["--record", "/tmp/x.gif"], "--record writes a picture (.svg) or a cast (.cast), and /tmp/x.gif is neither"),
    ],
)
@pytest.mark.root
def test_a_mistyped_command_line(arguments: list[str], says: str) -> None:
    done = subprocess.run([DEMO, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (2, f"demo: {says}")


def test_help() -> None:
    done = subprocess.run([DEMO, "--help"], capture_output=True, text=True, check=True)
    assert "--mock" in done.stdout
