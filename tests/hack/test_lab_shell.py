"""`hack/lab shell` as somebody at a terminal has it: a prompt on a node that works, and the shell's exit status."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

LAB = Path(__file__).parents[2] / "hack" / "lab"
PROMPT = "lab# "
PATIENCE = 180  # seconds; the cache may have to be filled


class Terminal:
    """What a person sees and types. Lines end as a terminal ends them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._seen = ""

    def until(self, text: str) -> str:
        """What has been printed up to `text`, which must come."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._seen:
            assert time.monotonic() < deadline, self._seen
            if select.select([self._descriptor], [], [], 1)[0]:
                with contextlib.suppress(OSError):  # the other end is closed
                    self._seen += os.read(self._descriptor, 1 << 16).decode(errors="replace")
        before, _, self._seen = self._seen.partition(text)
        return before

    def do(self, line: str) -> str:
        os.write(self._descriptor, f"{line}\r".encode())
        self.until(line)  # the guest's terminal echoes
        return self.until(PROMPT)


def page() -> list[str]:
    """What docs/lab.md lets its reader type, but for the end."""
    lines = (LAB.parents[1] / "docs/lab.md").read_text().splitlines()
    typed = [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]
    assert typed[-1] == "exit"
    return typed[:-1]


@pytest.mark.lab
def test_the_page_at_the_prompt() -> None:
    mine, its = pty.openpty()
    with subprocess.Popen([LAB, "shell"], stdin=its, stdout=its, stderr=its, start_new_session=True) as lab:
        os.close(its)
        terminal = Terminal(mine)
        said = terminal.until(PROMPT)
        if lab.poll() == os.EX_UNAVAILABLE and os.environ.get("CI") != "true":
            pytest.skip(said.splitlines()[-1])
        assert "2 PFs and 14 VFs" in said
        answers = {line: terminal.do(line) for line in page()}
        assert '"address": "10.56.217.2/24"' in answers["pod add red vlan=100 mac=02:00:00:00:00:01"]
        assert re.search("red .*0000:01:1.* 100 .*02:00:00:00:00:01", answers["pod list"])
        assert "3 received" in answers["ip netns exec red ping -c 3 10.56.217.3"]
        assert answers["ip link show"].count("vlan 100") == 2
        assert "pod: CNI ADD of black" in terminal.do("pod add black vlan=5000")
        terminal.do("pod del blue; pod del green")
        left = terminal.do("ip netns list; ip link show; pod list")
        assert left.count("spoof checking on") == 14
        assert not any(word in left for word in ("red", "green", "blue", "black", "vlan 100", "vlan 200"))
        os.write(mine, b"exit 3\r")
        assert lab.wait(60) == 3
    os.close(mine)
