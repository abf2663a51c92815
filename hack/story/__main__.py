"""Tells the story on a stage: `python -m hack.story igb|mock`. People start it through hack/demo."""

import argparse
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from hack.story import node as nodes
from hack.story import recording
from hack.story import stage as stages
from hack.story.story import Story
from hack.story.terminal import Terminal


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="hack/demo", description=__doc__)
    parser.add_argument("stage", choices=("igb", "mock"))
    parser.add_argument("--json", type=pathlib.Path, help="write what was seen as data")
    parser.add_argument(
        "--record", type=pathlib.Path, help="write what is printed as a picture (.svg) or a cast (.cast)"
    )
    options = parser.parse_args(argv)
    recorded = recording.Recording()
    terminal = Terminal(recorded)
    with tempfile.TemporaryDirectory(prefix="sd-") as folder, stages.opened(options.stage) as stage:
        with nodes.running(stage, pathlib.Path(folder)) as node:
            story = Story(stage, node, terminal)
            failed = _told(story, node, terminal)
        story.report["stage"] = options.stage
        story.report["passed"] = not failed and all(value is not False for value in story.report.values())
        if options.json:
            options.json.write_text(json.dumps(story.report, indent=2) + "\n")
    if story.report["passed"]:
        terminal.title("\nThe end. Every promise above was kept.")
    if options.record:
        recorded.save(options.record, "hack/demo" + " --mock" * (options.stage == "mock"))
    return 0 if story.report["passed"] else 1


def _told(story: Story, node: nodes.Node, terminal: Terminal) -> bool:
    """Tell the story; returns whether it broke off."""
    try:
        story.tell()
    except nodes.StoryError as error:
        terminal.failure(str(error), node.logs())
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
