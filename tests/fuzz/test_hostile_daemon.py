"""Shims against a daemon that sends anything: an answer, or error 11; and never a byte beyond their memory.

The daemon is root's and trusted. But a shim that a half-written frame could lead astray would fail a pod where a newer
daemon, or a dying one, speaks. Above all this is for the native shim, with sanitizers.
"""

import json
import os
import pathlib
import subprocess

import hypothesis
import pytest
from hypothesis import strategies

from sriov_cni.shim import shim as source
from sriov_cni.shim import wire
from tests.fuzz import profiles
from tests.sriov_cni import harness
from tests.sriov_cni.shim import shims, test_shim

_kinds = strategies.sampled_from((wire.IPAM, wire.IPAM, wire.ANSWER, wire.ENVIRONMENT, b"\0", b"\xff"))
_names = strategies.sampled_from((b"quick", b"absent", b"", b"/", b"..", b"x" * 5000, b"a b", b"\xff"))
_requests = strategies.builds(lambda verb, name: verb + b"\0" + name, _names, _names)
_payloads = _requests | strategies.binary(max_size=40) | strategies.just(b"\0" * 70_000)
_frames = strategies.lists(strategies.builds(wire.frame, _kinds, _payloads), max_size=4)
_lengths = strategies.sampled_from((0, 1, wire.LONGEST, wire.LONGEST + 1, 2**31, 2**32 - 1))
_broken = strategies.builds(lambda kind, length: kind + length.to_bytes(4, "big"), _kinds, _lengths)
_said = strategies.builds(lambda frames, end: b"".join(frames) + end, _frames, _broken | strategies.just(b""))


@pytest.mark.parametrize("shim", shims.ALL)
def test_whatever_a_daemon_says_the_shim_ends_with_one_answer(tmp_path: pathlib.Path, shim: str) -> None:
    command, path = shims.command(shim), tmp_path / "s"
    harness.ipam_plugin(tmp_path, "quick", "echo '{}'")
    env = {"SRIOV_CNI_SOCKET": str(path), "CNI_PATH": str(tmp_path), "CNI_COMMAND": "ADD", "PATH": os.environ["PATH"]}

    @hypothesis.given(_said)
    @profiles.examples(60, 2_000)
    def one(said: bytes) -> None:
        path.unlink(missing_ok=True)
        with test_shim.daemon_that(path, said):
            done = subprocess.run(command, input=b"{}", capture_output=True, env=env, check=False, timeout=30)
        answer = harness.answer(done.returncode, b"", done.stderr)
        assert answer.stderr == ""
        answered = _answered(said)
        if answered is None:
            assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 11)
        else:
            payload, further = answered
            assert done.stdout == payload[1:]
            assert done.returncode == (payload[0] or (source.LATE if further else 0))

    one()


def _answered(said: bytes) -> tuple[bytes, bytes] | None:
    """The payload of the answer that a shim has to find in this, and what comes after it; None where there is none."""
    while len(said) >= wire.HEAD:
        kind, length = said[:1], int.from_bytes(said[1 : wire.HEAD], "big")
        payload, said = said[wire.HEAD : wire.HEAD + length], said[wire.HEAD + length :]
        whole = len(payload) == length
        if kind == wire.ANSWER:
            return (payload, said) if whole and payload else None
        if kind != wire.IPAM or not whole or payload.count(b"\0") != 1:
            return None
    return None
