"""Stage of `hack/bench attach` on any machine: veths in a namespace that plays the host, shown as VFs without a PF by a
built sysfs.
"""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterable, Iterator, Sequence

from hack.benchmark.stages import stage
from sriov.hardware import sysfs
from sriov.linux import netlink, netns
from tests.fakes import sysfs_tree

_VF = sysfs_tree.Model(pf_device="10ca", pf_driver="igbvf")
_MTU = 1500


@contextlib.contextmanager
def opened(
    count: int, pods: int | None = None, beside: pathlib.Path | None = None, options: Sequence[str] = ()
) -> Iterator[stage.Stage]:
    """Open a stage with that many links, each with a pod unless `pods` is their number. Needs root and iproute2.

    `beside` is another checkout, whose daemon runs too. `options` are further ones of each daemon.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(stage.folder())
        names = ["host", "far", *(f"pod{number}" for number in range(pods or count))]
        host, far, *made = stack.enter_context(stage.namespaces(names))
        _ip_batch(host, (_veth(number, far) for number in range(count)))
        _ip_batch(far, (f"link set far{number} up" for number in range(count)))
        handle = stack.enter_context(netns.open_path(stage.path(host)))
        stack.enter_context(netns.entered(handle))
        links = tuple(_link(stack, number, made[number % len(made)]) for number in range(count))
        _show(folder / "sys", links)
        own, other = stack.enter_context(
            stage.daemons(folder, beside, "hack.benchmark.veth_daemon", "--sysfs", str(folder / "sys"), *options)
        )
        yield stage.Stage(folder, handle, links, sysfs.Tree(folder / "sys"), own, other)


def _link(stack: contextlib.ExitStack, number: int, pod: str) -> stage.Link:
    pci = f"0000:{0x10 + number // 32:02x}:{number % 32:02x}.0"
    with contextlib.closing(netlink.Netlink()) as net:
        index = net.link(f"vf{number}").index
    path = stage.path(pod)
    return stage.Link(f"vf{number}", index, pci, stack.enter_context(netns.open_path(path)), path)


def _show(root: pathlib.Path, links: Sequence[stage.Link]) -> None:
    tree = sysfs_tree.SysfsTree(root)
    for number, link in enumerate(links):
        tree.add_plain_nic(link.pci, sysfs.Netdev(link.name, link.index, _address(number), _MTU), _VF)


def _ip_batch(namespace: str, commands: Iterable[str]) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(commands).encode(), check=True)


def _veth(number: int, far: str) -> str:
    address = _address(number)
    return f"link add vf{number} address {address} type veth peer name far{number} netns {far}"


def _address(number: int) -> str:
    return f"02:00:00:bb:{number >> 8:02x}:{number & 0xFF:02x}"
