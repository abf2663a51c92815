"""Port names (sysfs: phys_port_name), which show which of a function's netdevs is its uplink. Pure.

A function has several netdevs if its card's switch shows its ports beside the uplink (switchdev mode, a DPU), or if the
function has two wires (ConnectX-3). Names are those of __devlink_port_phys_port_name_get() in net/devlink/port.c: `p0`
and `p0s1` are wires, `pf0vf3`, `pf0sf88` and `c1pf0` ports of the switch to functions, on another controller with `c`.
`pf0hpf` is a DPU's port to its host's PF in Mellanox's older drivers; nfp has `n0`, and no name for netdevs that are no
port (nfp_net_get_phys_port_name() in drivers/net/ethernet/netronome/nfp/nfp_net_common.c).
"""

import re
from collections.abc import Mapping

_WIRE = re.compile(r"(l\d+)?p\d+(s\d+)?")
_OF_SWITCH = re.compile(r"(c\d+)?pf\d+(s\d+)?(hpf|(vf|sf)\d+)?")
_OF_OWN_VF = re.compile(r"pf\d+vf(?P<number>\d+)")


def is_of_switch(port: str) -> bool:
    """Report whether a netdev with this port name represents a VF, an SF or another host's PF: never the uplink."""
    return _OF_SWITCH.fullmatch(port) is not None


def is_wire(port: str) -> bool:
    return _WIRE.fullmatch(port) is not None


def vf_of(port: str) -> int | None:
    """Return the index of this machine's VF that the port leads to; None if it leads elsewhere."""
    found = _OF_OWN_VF.fullmatch(port)
    return None if found is None else int(found["number"])


def uplinks(ports: Mapping[str, str]) -> tuple[str, ...]:
    """Return the netdevs that may be the uplink; more than one is undecided. `ports` maps them to port names or ""."""
    wires = tuple(name for name, port in ports.items() if is_wire(port))
    return wires or tuple(name for name, port in ports.items() if not is_of_switch(port))
