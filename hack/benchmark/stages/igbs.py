"""Stage of `hack/bench attach --igb` and `traffic`: the real VFs of this machine, in the lab's guest those of igbvf."""

import contextlib
import pathlib
from collections.abc import Iterator

from hack.benchmark.stages import stage
from hack.guest import errors
from sriov import devices
from sriov.hardware import inventory, sysfs
from sriov.linux import netns


@contextlib.contextmanager
def opened(tree: sysfs.Tree, beside: pathlib.Path | None = None, part: str = "attach --igb") -> Iterator[stage.Stage]:
    """Open a stage with every VF that has a netdev. Raises LabError if there is none. `beside` is as for veths."""
    found = [(vf, tree.netdev(vf.pci)) for vf in inventory.scan(tree).vfs.values() if vf.driver == "igbvf"]
    there = [(vf, netdev) for vf, netdev in found if netdev is not None]
    if not there:
        raise errors.LabError(f"no VF of igbvf on this machine: hack/lab run -- hack/bench {part}")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(stage.folder())
        pods = stack.enter_context(stage.namespaces([f"pod{number}" for number in range(len(there))]))
        home = stack.enter_context(netns.own())
        links = [
            _link(tree, vf, netdev, stack.enter_context(netns.open_path(path)), path)
            for (vf, netdev), path in zip(there, map(stage.path, pods), strict=True)
        ]
        own, other = stack.enter_context(stage.daemons(folder, beside, "sriov_cni"))
        yield stage.Stage(folder, home, tuple(links), tree, own, other)


def _link(tree: sysfs.Tree, vf: devices.VF, netdev: sysfs.Netdev, pod: netns.Netns, path: str) -> stage.Link:
    pf = None if vf.pf is None else tree.ifindex(vf.pf)
    return stage.Link(netdev.name, netdev.index, vf.pci, pod, path, pf, vf.index, netdev.address)
