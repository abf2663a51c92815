"""An ADD decodes its stdin once, whoever needs something of it: commands, warnings, errors, the log of recent calls."""

import contextlib
import json
import pathlib
import sys
import threading
import types
from collections.abc import Iterator

import msgspec
import pytest

from sriov.state import call_log
from tests.fakes import bench
from tests.sriov_cni import conftest, harness

FIRST, LAST = "decoded-once", "the last value of stdin"


class Decodings:
    """Counts what decodes a whole stdin of these tests: msgspec's C functions, in any spelling, and json.loads.

    The stdin is found among the locals of the frame that calls. A copy counts too, by its first and its last value.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, frame: types.FrameType, event: str, called: object) -> None:
        by_msgspec = event == "c_call" and getattr(called, "__name__", "").endswith("decode")
        by_json = event == "call" and frame.f_code is json.loads.__code__
        if (by_msgspec and not isinstance(getattr(called, "__self__", None), bytes | str)) or by_json:
            held = (value for value in frame.f_locals.values() if isinstance(value, bytes))
            if any(_is_whole(value) for value in held):
                self.seen.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")


def _is_whole(data: bytes) -> bool:
    return FIRST.encode() in data and LAST.encode() in data


@contextlib.contextmanager
def counted() -> Iterator[Decodings]:
    """What is decoded by threads that start meanwhile."""
    found = Decodings()
    threading.setprofile(found)
    try:
        yield found
    finally:
        threading.setprofile(None)


def decodings(folder: pathlib.Path, *calls: tuple[str, dict[str, object]]) -> list[str]:
    """Where a daemon with a log of recent calls decodes their stdins; each call is a command and more keys."""
    made, plugins = bench.make(folder), folder / "plugins"
    harness.ipam_plugin(plugins, "fixed", f"[ $CNI_COMMAND != ADD ] || echo '{conftest.IPAM}'")
    kept = call_log.Recent(folder / "run")
    with (
        counted() as found,
        harness.daemon(made.node, made.book, folder / "cni.sock", made.machine.adopt, calls_log=kept),
    ):
        client = harness.Client(folder / "cni.sock", str(plugins), made.machine.path("pod"))
        for command, keys in calls:
            network = harness.configuration(made.vfs[0], name=FIRST, ipam={"type": "fixed"}, **keys)
            client.call(command, {**network, "unknown": LAST})
    assert [(each.command, each.network, each.device) for each in kept.read()] == [
        (command, FIRST, made.vfs[0]) for command, _ in calls
    ]
    made.pod.close()
    made.machine.close()
    return found.seen


@pytest.mark.parametrize("keys", [{"vlan": 100}, {"vlan": 5000}, {"vlan": "100"}, {"cniVersion": "9.9.9"}], ids=str)
def test_an_add_decodes_its_stdin_once_if_it_succeeds_and_if_it_is_refused(
    tmp_path: pathlib.Path, keys: dict[str, object]
) -> None:
    found = decodings(tmp_path, ("ADD", keys))
    assert len(found) == 1, found


def test_an_add_decodes_its_prev_result_once(tmp_path: pathlib.Path) -> None:
    """The answer passes prevResult on, so the log of recent calls, which decodes the answer, counts too."""
    before = {"cniVersion": "1.0.0", "interfaces": [{"name": FIRST}, {"name": LAST}]}
    found = decodings(tmp_path, ("ADD", {"prevResult": before}))
    assert [each.rpartition("/")[2] for each in found] == [
        "netconf.py:_by_key",
        "result.py:previous",
        "call_summary.py:_decoded",
    ]


def test_a_del_decodes_its_stdin_once(tmp_path: pathlib.Path) -> None:
    found = decodings(tmp_path, ("ADD", {}), ("DEL", {}))
    assert len(found) == 2, found


def test_every_decoding_is_counted() -> None:
    """Of bytes and of copies, by msgspec and by json, in a thread that started meanwhile; of nothing else."""

    decoder = msgspec.json.Decoder()

    def decode() -> None:
        stdin = json.dumps({"name": FIRST, "unknown": LAST}).encode()
        decoder.decode(stdin)
        copied = stdin[:-1] + b', "vlan": 1}'
        msgspec.json.decode(copied)
        json.loads(copied)

    def decode_a_part() -> None:
        decoder.decode(f'"{LAST}"'.encode())

    with counted() as found:
        for work in (decode, decode_a_part):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    assert [each.rpartition(":")[2] for each in found.seen] == ["decode", "decode", "loads"]
    assert sys.getprofile() is None
