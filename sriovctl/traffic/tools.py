"""Tools that measure traffic, as command lines and as what they print: iperf3, sockperf and iperf of Debian. Pure.

iperf3 measures throughput and small packets, sockperf round trips, and iperf connections, which iperf3 does not count.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

SERVERS = {
    "iperf3": ("iperf3", "--server", "--port=5201"),
    "sockperf": ("sockperf", "server", "--ip=0.0.0.0", "--port=11111"),
    "iperf": ("iperf", "--server", "--port=5001"),
}
"""What the receiving end runs, by tool."""
LISTENS = {("tcp", 5201), ("udp", 11111), ("tcp", 5001)}
"""Protocol and port of each of them."""

_STATES = {"0A": "tcp", "07": "udp"}  # of who listens (include/net/tcp_states.h); nobody lists a TCP socket with 07
_STATE = 3  # their column in /proc/net/tcp and udp

_SMALL = 18  # bytes of data: with the headers of UDP, IP and Ethernet and the checksum that is a frame of 64
_SMALL_ON_WIRE = 84  # bytes: the frame, its preamble, and the gap to the next one
_LARGE = 1400  # bytes of data, which fit a frame of 1500 also with VXLAN's headers
CONNECTIONS = 200  # fewer than wait at a server (net.core.somaxconn), so that none is refused


class NoResultError(ValueError):
    """A tool printed something else than its result."""


class Load(msgspec.Struct, frozen=True):
    """Seconds that each measurement takes, and bits a second that it sends at most; 0 is as many as there is room for.

    `packets` is how many small ones a second are sent to see what each costs: few enough for none to be lost.
    """

    seconds: int
    packets: int
    at_most: int = 0


class Reading(msgspec.Struct, frozen=True):
    """What one run found: `values` by name, bytes that came over, and packets, if their cost is to be known."""

    values: Mapping[str, float]
    data: float
    packets: float = 0


class Measurement(msgspec.Struct, frozen=True):
    """A measurement: the command line of its sending end, and what its output means."""

    key: str
    about: str
    command: Callable[[str, Load], tuple[str, ...]]
    read: Callable[[str], Reading]


def _tcp(address: str, load: Load) -> tuple[str, ...]:
    return (*_iperf3(address, load), f"--bitrate={load.at_most}")


def _udp(address: str, load: Load) -> tuple[str, ...]:
    return (*_iperf3(address, load), "--udp", f"--length={_LARGE}", f"--bitrate={load.at_most}")


def _small(address: str, load: Load) -> tuple[str, ...]:
    bits = load.at_most * _SMALL // _SMALL_ON_WIRE
    return (*_iperf3(address, load), "--udp", f"--length={_SMALL}", f"--bitrate={bits}")


def _paced(address: str, load: Load) -> tuple[str, ...]:
    bits = load.packets * _SMALL * 8
    return (*_iperf3(address, load), "--udp", f"--length={_SMALL}", f"--bitrate={bits}")


def _iperf3(address: str, load: Load) -> tuple[str, ...]:
    return ("iperf3", f"--client={address}", "--port=5201", f"--time={load.seconds}", "--json")


def _round_trips(address: str, load: Load) -> tuple[str, ...]:
    to = (f"--ip={address}", "--port=11111", f"--msg-size={_SMALL}", f"--time={load.seconds}")
    return ("sockperf", "ping-pong", *to, "--full-rtt")


def _connects(address: str, _: Load) -> tuple[str, ...]:
    return ("iperf", f"--client={address}", "--port=5001", f"--connect-only={CONNECTIONS}", "--enhanced")


def _read_tcp(printed: str) -> Reading:
    found = _received(printed)
    return Reading({"tcp_mbit": found["bits_per_second"] / 1e6}, found["bytes"])


def _read_udp(printed: str) -> Reading:
    found = _received(printed)
    return Reading({"udp_mbit": found["bits_per_second"] / 1e6}, found["bytes"])


def _read_small(printed: str) -> Reading:
    found = _received(printed)
    return Reading({"packets": found["bytes"] / _SMALL / found["seconds"]}, found["bytes"])


def _read_paced(printed: str) -> Reading:
    found, sent = _received(printed), _end(printed)["sum_sent"]["packets"]
    received = found["bytes"] / _SMALL
    return Reading({"lost_percent": max(0, 1 - received / sent) * 100}, found["bytes"], received)


def _received(printed: str) -> Mapping[str, float]:
    found: Mapping[str, float] = _end(printed)["sum_received"]
    if not found["bytes"] or not found["seconds"]:
        raise NoResultError("iperf3 received nothing")
    return found


def _end(printed: str) -> Mapping[str, Any]:
    try:
        found = json.loads(printed)
        if said := found.get("error"):
            raise NoResultError(f"iperf3: {said}")
        end: Mapping[str, Any] = found["end"]
        return end if end["sum_received"] else {}
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError):
        raise NoResultError(f"iperf3 printed no result: {_last(printed)}") from None


def _read_round_trips(printed: str) -> Reading:
    shares = {share: rf"percentile {share}\.000 = +([\d.]+)" for share in ("50", "99")}
    values = {f"rtt_us_p{share}": _number(pattern, printed, "sockperf") for share, pattern in shares.items()}
    answers = _number(r"Total (\d+) observations", printed, "sockperf")
    return Reading(values, answers * _SMALL)


def _read_connects(printed: str) -> Reading:
    mean = _number(r"connect times \(min/avg/max/stdev\) = [\d.]+/([\d.]+)/", printed, "iperf")
    made = _number(r"\(tot/err\) = (\d+)/0\s", printed, "iperf")
    return Reading({"connections": 1000 / mean}, made)


def _number(pattern: str, printed: str, tool: str) -> float:
    if (found := re.search(pattern, printed)) is None:
        raise NoResultError(f"{tool} printed no result: {_last(printed)}")
    return float(found[1])


def _last(printed: str) -> str:
    return next((line for line in reversed(printed.splitlines()) if line.strip()), "nothing at all")


def listening(printed: str) -> set[tuple[str, int]]:
    """Return protocols and ports at which anybody listens, by the text of /proc/net/{tcp,tcp6,udp,udp6}."""
    lines = [words for line in printed.splitlines() if len(words := line.split()) > _STATE and words[0].endswith(":")]
    known = [(_STATES[words[_STATE]], words[1]) for words in lines if words[_STATE] in _STATES]
    return {(protocol, int(address.rpartition(":")[2], 16)) for protocol, address in known}


EVERY = (
    Measurement("tcp", "TCP throughput, one connection", _tcp, _read_tcp),
    Measurement("udp", f"UDP throughput, {_LARGE} bytes of data", _udp, _read_udp),
    Measurement("small", "UDP packets in frames of 64 bytes, as many as possible", _small, _read_small),
    Measurement("paced", "UDP packets in frames of 64 bytes, so few that none is lost", _paced, _read_paced),
    Measurement("rtt", "round trips of such packets, one after another", _round_trips, _read_round_trips),
    Measurement("connect", f"{CONNECTIONS} TCP connections, one after another", _connects, _read_connects),
)
"""The measurements, in the order of a round."""
