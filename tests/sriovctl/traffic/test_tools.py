"""Output of the tools, as Debian 12's iperf3 3.12, sockperf 3.7 and iperf 2.1.8 print it."""

import json

import pytest

from sriovctl.traffic import tools

LOAD = tools.Load(5, 20_000, 10_000_000_000)
SOCKPERF = """sockperf: [Total Run] RunTime=2.000 sec; Warm up time=400 msec; SentMessages=73279; ReceivedMessages=73278
sockperf: \x1b[2;35mTotal 55906 observations\x1b[0m; each percentile contains 559.06 observations
sockperf: ---> percentile 99.999 = 3633.651
sockperf: ---> percentile 99.900 = 2188.617
sockperf: ---> percentile 99.000 =  317.951
sockperf: ---> percentile 50.000 =   12.228
"""
IPERF = """[  1] local 127.0.0.1 port 58088 connected with 127.0.0.1 port 5001 (ct=0.01 ms) on 2026-11-30 (UTC)
[ CT] final connect times (min/avg/max/stdev) = 0.011/0.125/1.703/10.953 ms (tot/err) = 500/0
"""


def iperf3(sent: int, data: int, seconds: float = 2.0) -> str:
    received = {"bytes": data, "seconds": seconds, "bits_per_second": data * 8 / seconds, "packets": sent}
    return json.dumps({"end": {"sum_sent": {"packets": sent}, "sum_received": received}}, indent=1)


def test_what_is_read_of_each_tool() -> None:
    read = {each.key: each.read for each in tools.EVERY}
    assert read["tcp"](iperf3(0, 250_000_000)) == tools.Reading({"tcp_mbit": 1000}, 250_000_000)
    assert read["udp"](iperf3(0, 25_000_000)) == tools.Reading({"udp_mbit": 100}, 25_000_000)
    assert read["small"](iperf3(50_000, 18 * 30_000)) == tools.Reading({"packets": 15_000}, 540_000)
    assert read["paced"](iperf3(2000, 18 * 1500)) == tools.Reading({"lost_percent": 25}, 27_000, 1500)
    found = tools.Reading({"rtt_us_p50": 12.228, "rtt_us_p99": 317.951}, 55906 * 18)
    assert read["rtt"](SOCKPERF) == found
    assert read["connect"](IPERF) == tools.Reading({"connections": 8000}, 500)


@pytest.mark.parametrize(
    ("key", "printed", "says"),
    [
        ("tcp", '{"error": "unable to connect to server: Connection refused"}', "unable to connect to server"),
        ("udp", "", "iperf3 printed no result: nothing at all"),
        ("udp", "[]", "iperf3 printed no result"),
        ("small", '{"end": {}}', "iperf3 printed no result"),
        ("small", iperf3(9, 0), "iperf3 received nothing"),
        ("rtt", "sockperf: ERROR: Can't connect\n\n", "sockperf printed no result: sockperf: ERROR: Can't connect"),
        ("connect", IPERF.replace("500/0", "499/1"), "iperf printed no result"),
    ],
)
def test_no_result_is_said_in_the_tools_words(key: str, printed: str, says: str) -> None:
    [read] = [each.read for each in tools.EVERY if each.key == key]
    with pytest.raises(tools.NoResultError, match=says):
        read(printed)


def test_what_is_sent_is_limited_on_the_wire() -> None:
    """A small packet takes 84 bytes of the wire for 18 of data."""
    lines = {each.key: each.command("192.0.2.1", LOAD) for each in tools.EVERY}
    rates = {key: line[-1] for key, line in lines.items() if line[0] == "iperf3"}
    assert rates["tcp"] == rates["udp"] == "--bitrate=10000000000"
    assert rates["small"] == "--bitrate=2142857142"
    assert rates["paced"] == "--bitrate=2880000"
    assert all("192.0.2.1" in " ".join(line) and line[0] in tools.SERVERS for line in lines.values())


def test_who_listens_is_read_of_all_tables_in_a_row() -> None:
    """The kernel's own headings stand between them; a connection is nobody who listens."""
    heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    rows = ("0100007F:1389 00000000:0000 0A", "0100007F:0016 0100007F:D431 01", "00000000:2B67 00000000:0000 07")
    text = "".join(f"{heading}   {number}: {row} 00000000:00000000 0\n" for number, row in enumerate(rows))
    assert tools.listening(text) == {("tcp", 5001), ("udp", 11111)}
    assert tools.listening("") == set()
