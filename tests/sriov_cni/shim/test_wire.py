"""Frames survive the way there and back; what is no frame is refused."""

import pytest
from hypothesis import given, strategies

from sriov_cni.shim import wire


@given(strategies.sampled_from([wire.ENVIRONMENT, wire.STDIN, wire.IPAM, wire.ANSWER]), strategies.binary())
def test_a_frame_says_its_kind_and_length(kind: bytes, payload: bytes) -> None:
    frame = wire.frame(kind, payload)
    assert wire.head(frame[: wire.HEAD]) == (kind, len(payload))
    assert frame[wire.HEAD :] == payload


@pytest.mark.parametrize("head", [b"X\0\0\0\0", b"E\xff\xff\xff\xff", b"\0\0\0\0\0"])
def test_what_is_no_frame(head: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.head(head)


def test_an_environment_with_odd_values() -> None:
    assert wire.environment(b"A=1\0B=x=y\0C=\0D") == {"A": "1", "B": "x=y", "C": "", "D": ""}
    assert wire.environment(b"A=\xff") == {"A": "\udcff"}
    assert wire.environment(b"") == {}


def test_an_outcome() -> None:
    assert wire.outcome(b"\x7fhello") == wire.Outcome(wire.NO_PLUGIN, b"hello")
    with pytest.raises(wire.WireError):
        wire.outcome(b"")
