"""DDP profile of each NIC, for `ddpProfiles`: read by devlink, and only if a configuration has that key.

It costs a request for each PF, some of which go as far as the NIC's firmware. `ddptool` is never run: it is not part of
the kernel, and needs more privileges than the device plugin has.
"""

import contextlib
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import msgspec

from sriov import devices, errors
from sriov.hardware import node_devices

Ask = Callable[[devices.PciAddress], str | None]
"""Returns the profile of a PF or NIC; None if it has none. Raises KernelError."""

Source = Callable[[], AbstractContextManager[Ask]]
"""Opens the client that answers. Raises KernelError."""

_SILENT = "no NIC reports a DDP profile by devlink (fw.app.name, as of ice)"


@contextlib.contextmanager
def of_this_machine() -> Iterator[Ask]:
    """Open devlink of this machine. The import is late: pyroute2 would cost every start some 0.3 s and its memory."""
    from sriov.linux import devlink  # noqa: PLC0415

    with contextlib.closing(devlink.Devlink()) as kernel:
        yield kernel.ddp_profile


def fill_in(
    catalog: node_devices.Catalog, source: Source
) -> tuple[node_devices.Catalog, errors.DeviceError | errors.KernelError | None]:
    """Each device with the profile of its NIC, and why no NIC has one if that is so.

    DeviceError: every NIC was asked and none tells one. KernelError: one could not be asked.
    """
    found: dict[devices.PciAddress, str] = {}
    trouble: errors.DeviceError | errors.KernelError = errors.DeviceError(_SILENT)
    try:
        with source() as ask:
            for nic in _nics(catalog):
                try:
                    found |= _named(nic, ask(nic))
                except errors.KernelError as error:  # of this NIC; the others may answer
                    trouble = error
    except errors.KernelError as error:
        trouble = error
    told = {
        name: msgspec.structs.replace(one, ddp_profile=found.get(_nic(one))) for name, one in catalog.candidates.items()
    }
    filled = msgspec.structs.replace(catalog, candidates=types.MappingProxyType(told))
    return filled, None if found else trouble


def _nics(catalog: node_devices.Catalog) -> list[devices.PciAddress]:
    every = catalog.candidates.values()
    return sorted({_nic(one) for one in every if one.role is not node_devices.Role.ACCELERATOR})


def _nic(one: node_devices.Candidate) -> devices.PciAddress:
    """Return the NIC to ask: a VF runs its PF's profile; a VF whose PF is on another machine is asked itself."""
    return one.pf or one.pci


def _named(nic: devices.PciAddress, profile: str | None) -> dict[devices.PciAddress, str]:
    return {} if profile is None else {nic: profile}
