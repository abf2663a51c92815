"""Hostile pod of the demo: root in its namespace changes its VF so that the host or the next pod would suffer."""

import json
import subprocess
from typing import Any

from hack.story import stage as stages

# Of what `ip -details link` shows, that which follows a link's place and use and is no setting of it. igbvf takes the
# permanent address from the MAC that its PF administers (igbvf_reset() in drivers/net/ethernet/intel/igbvf/netdev.c).
_PLACE = {"ifindex", "flags", "qdisc", "operstate", "link", "link_index", "link_netnsid", "permaddr"}


def misdeeds(host_name: str) -> list[tuple[str, str]]:
    """Return what the pod does, each as a sentence and a command of ip(8). `host_name` is the VF's name in the host."""
    return [
        (f"names it {host_name} too, so that it cannot go home", f"link property add dev net1 altname {host_name}"),
        ("names it eth0 too, so that no pod with an eth0 can have it", "link property add dev net1 altname eth0"),
        ("sends its broadcasts to a MAC of its choice", "link set net1 broadcast 02:00:00:ba:d0:00"),
        ("leaves it a message, a group and a queue of one packet", "link set net1 alias evil group 7 txqueuelen 1"),
        ("takes net1, its name, away from it", "link set net1 down name mine"),
        ("gives that name to a link of its own", "link add net1 type veth peer name trap"),
    ]


def do(namespace: str, command: str) -> bool:
    """Do it in the pod; returns whether the kernel lets it."""
    done = subprocess.run(["ip", "-n", namespace, *command.split()], check=False, capture_output=True)
    return done.returncode == 0


def links(stage: stages.Stage) -> dict[str, Any]:
    """Return all settings of each link of the host that `ip -details link` shows, by name."""
    shown = subprocess.run(stage.command("ip", "-details", "-json", "link"), check=True, capture_output=True).stdout
    return {
        link["ifname"]: {key: value for key, value in link.items() if key not in _PLACE} for link in json.loads(shown)
    }


def changed(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the settings of a link that differ."""
    return sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
