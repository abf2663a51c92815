"""CNI daemon on veths that a built sysfs shows as VFs without a PF: `python -m hack.benchmark.veth_daemon OPTIONS`.

The kernel is the machine's own and every request goes straight to it. Real sysfs shows a netdev where it is by itself;
here that costs one rename of a folder, which is small enough not to count against the product.
"""

import contextlib
import pathlib
import sys
from collections.abc import Iterator, Mapping

import msgspec

from sriov.linux import kernel, netlink, netns
from sriov_cni import app as daemon
from tests.fakes import policy_source

Shown = Mapping[int, tuple[pathlib.Path, pathlib.Path]]
"""By a link's index: its folder in sysfs while in the host, and the place of that folder meanwhile."""


class VethKernel(netlink.Netlink):
    """Requests in one namespace; the built sysfs follows a move, and a VF has its PCI device as its parent."""

    def __init__(self, shown: Shown, where: netns.Netns | None = None) -> None:
        super().__init__(where)
        self._shown = shown

    def link(self, ref: kernel.LinkRef) -> kernel.Link:
        found = super().link(ref)
        places = self._shown.get(found.index)
        return found if places is None else msgspec.structs.replace(found, parent=places[0].parent.parent.name)

    def move(self, index: int, target: netns.Netns, name: str, change: kernel.Change = kernel.NOTHING) -> None:
        super().move(index, target, name, change)
        here, away = self._shown[index]
        source, goal = (here, away) if here.exists() else (away, here)
        source.rename(goal)

    @contextlib.contextmanager
    def inside(self, target: netns.Netns) -> Iterator["VethKernel"]:
        with netns.entered(target):
            other = VethKernel(self._shown, target)
        try:
            yield other
        finally:
            other.close()


def shown(sysfs: pathlib.Path) -> Shown:
    """Return every netdev of the built tree, with a place for its folder while it is away."""
    found = {int((path / "ifindex").read_text()): path for path in sysfs.glob("bus/pci/devices/*/net/*")}
    return {index: (path, path.parent.parent / f"away-{path.name}") for index, path in found.items()}


def main(arguments: list[str]) -> int:
    index = arguments.index("--sysfs")
    every = shown(pathlib.Path(arguments[index + 1]))
    source, options = policy_source.taken(arguments)
    return daemon.main(options, daemon.kept(lambda: VethKernel(every)), policies=source)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
