"""This machine, as provisioning reads and changes it. Importing this module imports pyroute2."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping

import msgspec

from sriov import devices, errors
from sriov.hardware import sysfs
from sriov.linux import eswitch, kernel, netlink, sysfs_writes
from sriov.provisioning import machine, observe
from sriov.state import ledger


class _NoSwitches(msgspec.Struct, frozen=True):
    """Substitute for a kernel without devlink, or a container that may not use it."""

    why: errors.KernelError

    def mode(self, bus: str, device: str) -> devices.EswitchMode | None:  # noqa: ARG002
        return None

    def set_mode(self, bus: str, device: str, mode: devices.EswitchMode) -> None:  # noqa: ARG002
        raise self.why


def made(
    sysfs_root: pathlib.Path, proc: pathlib.Path, run_dir: pathlib.Path, pods: Callable[[], Mapping[str, str]]
) -> machine.Machine:
    """Make the machine; `pods` asks the kubelet which pod has which device."""
    book = ledger.Ledger(run_dir)
    node = observe.NodeAccess(sysfs.Tree(sysfs_root), proc, book, _kernel, _switches, pods)
    return machine.Machine(node, sysfs_writes.Sysfs(sysfs_root))


@contextlib.contextmanager
def _kernel() -> Iterator[kernel.Kernel]:
    with contextlib.closing(netlink.Netlink()) as net:
        yield net


@contextlib.contextmanager
def _switches() -> Iterator[observe.EswitchClient]:
    try:
        opened = eswitch.Eswitch()
    except errors.KernelError as error:
        yield _NoSwitches(error)
        return
    with contextlib.closing(opened):
        yield opened
