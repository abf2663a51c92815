"""RSS is set back by the older interface, where the kernel has no message for it: on igb, since igbvf has none. H3.

Flow rules the emulated card does not take.
"""

import subprocess

import pytest

from sriov.attachment import cleaning
from sriov.linux.netdev import netdev_settings
from tests.lab import igb

ACTS = {
    "rss": "ethtool -X {name} equal 1",
    "coalesce": "ethtool -C {name} rx-usecs 100",
    "rings": "ethtool -G {name} rx 512",
    "private flags": "ethtool --set-priv-flags {name} legacy-rx on",
}


@pytest.mark.parametrize("group", sorted(ACTS))
def test_h3_what_igb_lets_one_set_is_set_back(group: str) -> None:
    pf = igb.TREE.netdev(igb.PF1)
    assert pf is not None
    with igb.opened() as net:
        before = net.state(pf.index)
        done = subprocess.run(ACTS[group].format(name=pf.name).split(), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        found = net.state(pf.index, before)
        assert netdev_settings.shown(netdev_settings.differing(before, found)) == group
        assert cleaning.clean(net, pf.index, before) == {}
        assert net.state(pf.index, before) == before
