"""Named network namespaces of this machine for a test, removed afterwards."""

import contextlib
import dataclasses
import ipaddress
import pathlib
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

from sriov.linux import netlink, netns


@dataclasses.dataclass(frozen=True, slots=True)
class Namespace:
    """`name` is for `ip -n`, `path` for CNI_NETNS."""

    name: str
    handle: netns.Netns

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"


@contextlib.contextmanager
def made(purpose: str) -> Iterator[Namespace]:
    name = f"sriov-{purpose}-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with netns.open_path(f"/run/netns/{name}") as handle:
            yield Namespace(name, handle)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def ip(where: str, lines: Iterable[str]) -> None:
    """In the namespace of this name, in one process."""
    subprocess.run(["ip", "-n", where, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def is_reached(where: netns.Netns, link: str, addresses: Iterable[str]) -> bool:
    """The kernel sends when its link watch has seen the carrier (else noop_qdisc), and hears a neighbour's question
    when a worker has joined its group (net/ipv6/addrconf.c, addrconf_dad_begin)."""
    with contextlib.closing(netlink.Netlink()) as net, net.inside(where) as inner:
        is_running = inner.link(link).running
    with netns.entered(where):
        lines = pathlib.Path("/proc/thread-self/net/igmp6").read_text().splitlines()
    joined = {group for _, name, group, *_ in map(str.split, lines) if name == link}
    return is_running and joined.issuperset(_group(each) for each in addresses if ":" in each)


def _group(address: str) -> str:
    """The solicited-node multicast address (RFC 4291, 2.7.1)."""
    return f"{int(ipaddress.ip_address('ff02::1:ff00:0')) + (int(ipaddress.ip_address(address)) & 0xFFFFFF):032x}"


def open_descriptors() -> int:
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


def until(true: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait; returns whether it became true: the kernel does some things in its own time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
