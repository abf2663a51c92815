"""Reading what the kernel says of a link in /proc/net/dev."""

from sriov_cni.monitoring import counters

TEXT = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  net1:18446744073709551615 12 3 4 5 6 7 8 101 102 103 104 105 106 107 108
 net10: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
"""  # noqa: E501


def test_a_links_line_also_where_a_number_leaves_no_space() -> None:
    received = counters.Direction((1 << 64) - 1, 12, 3, 4)
    assert counters.shown(TEXT, "net1") == counters.Counters(received, counters.Direction(101, 102, 103, 104))


def test_a_link_that_is_not_there_has_none() -> None:
    assert counters.shown(TEXT, "net") is None
    assert counters.shown(TEXT, "Inter-|   Receive") is None
    assert counters.shown("", "net1") is None
