"""`sriovctl inventory --watch` in a terminal: what the real shim and daemon do to a VF shows within a second.

The second is promised, so it is measured: from the shim's answer to the arrival of the VF's row in the terminal. An
emulated CPU is some twenty times slower than what a node has. That nothing is polled is counted where it would be felt:
the kubelet counts its questions, and a probe in the PF's driver the VFs that the kernel was made to tell of.
"""

import contextlib
import os
import pathlib
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tests.kernel import namespaces
from tests.lab import igb, sriovctls
from tests.sriov_cni import harness

ROUNDS, SECOND, COLUMNS = 5, 1.0, 200
PROGRAM = (sys.executable, "-m", "sriovctl")
WAITING = "default/web (no ADD yet)"
_TRACING = pathlib.Path("/sys/kernel/tracing")
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")


class Screen:
    """What a program shows in a terminal, line by line, each with the time at which it was there."""

    def __init__(self, command: Sequence[str]) -> None:
        self._mine, its = pty.openpty()
        termios.tcsetwinsize(its, (50, COLUMNS))
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm"}
        self._process = subprocess.Popen(
            command, cwd=harness.PROJECT, env=environment, stdin=its, stdout=its, stderr=its
        )
        os.close(its)
        self._lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        begun = ""
        with contextlib.suppress(OSError):  # EIO: the program has ended
            while data := os.read(self._mine, 1 << 16):
                now = time.monotonic()
                *whole, begun = (begun + data.decode(errors="replace")).split("\n")
                self._lines += [(now, _ESCAPE.sub("", line)) for line in whole]

    def shown(self, row: re.Pattern[str], since: float = 0.0) -> float:
        """When such a line came first, after `since`."""
        found: list[float] = []

        def there() -> bool:
            found[:] = [at for at, line in list(self._lines) if at > since and row.match(line)][:1]
            return found != []

        assert namespaces.until(there, 60), [row.pattern, *self._lines[-20:]]
        return found[0]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        os.close(self._mine)


@contextlib.contextmanager
def told() -> Iterator[Callable[[], int]]:
    """Of how many VFs the kernel has told anybody: for each of a list it asks the PF's driver (rtnl_fill_vfinfo())."""
    subprocess.run(["mount", "-t", "tracefs", "tracefs", _TRACING], check=True)
    events, enable = _TRACING / "kprobe_events", _TRACING / "events/lab/vf_told/enable"
    events.write_text("p:lab/vf_told igb:igb_ndo_get_vf_config\n")
    try:
        enable.write_text("1")
        yield lambda: int((_TRACING / "kprobe_profile").read_text().split()[1])
    finally:
        enable.write_text("0")
        events.write_text("")  # to open it so is to take away what is there
        subprocess.run(["umount", _TRACING], check=True)


def row(vf: str, owner: str, mac: str, vlan: str) -> re.Pattern[str]:
    return re.compile(rf"{vf} .* {re.escape(owner)} +{mac} +{vlan} ")


def test_an_attach_and_its_end_show_within_a_second(tmp_path: pathlib.Path) -> None:
    netdev = igb.TREE.netdev(igb.vf(3).pci)
    assert netdev is not None
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(sriovctls.prepared(tmp_path))
        stack.enter_context(node.serving())
        pod, asked = stack.enter_context(namespaces.made("pod")), stack.enter_context(told())
        at_home = row(node.vf, WAITING, netdev.address, "-")
        screen = stack.enter_context(contextlib.closing(Screen([*PROGRAM, *node.places, "inventory", "--watch"])))
        screen.shown(at_home)
        rounds = [_round(node, screen, pod, number, at_home) for number in range(ROUNDS)]
        looks = node.api.calls
        time.sleep(2 * SECOND)
        assert node.api.calls - looks <= 1, "it looks without being told to"
        assert asked() == 0
        with igb.opened() as net:
            net.vf(igb.pf_index(), 3)
        assert asked() == 7, "the probe sees each VF of a PF that is listed once"
    latencies = ", ".join(f"{added * 1000:.0f} and {ended * 1000:.0f}" for added, ended in rounds)
    print(f"milliseconds from the answer of ADD and DEL to the row: {latencies}; {looks} looks")
    assert all(max(each) < SECOND for each in rounds), latencies


def _round(
    node: sriovctls.Node, screen: Screen, pod: namespaces.Namespace, number: int, at_home: re.Pattern[str]
) -> tuple[float, float]:
    """How long after its answer the ADD showed, and the DEL."""
    mac, vlan = f"02:00:00:00:77:0{number}", 100 + number
    assert node.cni("ADD", pod, mac=mac, vlan=vlan).code == 0
    answered = time.monotonic()
    added = screen.shown(row(node.vf, "default/web", mac, str(vlan)))
    assert node.cni("DEL", pod).code == 0
    gone = time.monotonic()
    return added - answered, screen.shown(at_home, added) - gone
