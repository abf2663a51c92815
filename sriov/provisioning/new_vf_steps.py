"""Steps that make the VFs of a PF that has none. Pure.

If the driver or the MAC is chosen, the VFs are made without a driver (drivers_autoprobe 0), administered, and only
then bound to one. Trust comes last: igb lets a trusted VF replace the administered address by its own, even by a random
one (igb_set_vf_mac_addr() in drivers/net/ethernet/intel/igb/igb_main.c). These steps need no undo: removing the VFs
undoes them.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sriov import devices, settings
from sriov.provisioning import model, policies, steps

UNBOUND = model.Binding(None, None)


def creation(pf: model.Pf, policy: policies.PfPolicy, macs: Sequence[str] | None) -> Iterator[steps.ProvisioningStep]:
    """Go from 0 to `numVfs` VFs, act by act and not VF by VF, so that the plan can be shown in few lines."""
    staged = macs is not None or policy.driver not in (None, policies.DEFAULT_DRIVER)
    probed = pf.autoprobe or policy.driver == policies.DEFAULT_DRIVER
    if staged and pf.autoprobe:
        yield _of_pf(pf, steps.Act.AUTOPROBE, True, False)
    if not staged and probed and not pf.autoprobe:
        yield _of_pf(pf, steps.Act.AUTOPROBE, False, True)
    yield _of_pf(pf, steps.Act.NUMVFS, 0, policy.numvfs)
    if policy.declared != settings.UNNAMED:
        yield from _of_vfs(pf, policy, steps.Act.DEFAULTS, policy.declared)
    yield from _administered(pf, policy, macs)
    if staged and probed:
        yield _of_pf(pf, steps.Act.AUTOPROBE, False, True)
    binding = wanted_binding(policy, probed=probed)
    if staged and binding is not None:
        yield from _of_vfs(pf, policy, steps.Act.DRIVER, binding)
    if policy.mtu is not None and not is_userspace(policy.driver) and probed:
        yield from _of_vfs(pf, policy, steps.Act.MTU, policy.mtu)
    if policy.trust is not None:
        yield from _of_vfs(pf, policy, steps.Act.TRUST, policy.trust)


def wanted_binding(policy: policies.PfPolicy, *, probed: bool) -> model.Binding | None:
    """Return the driver that a VF is to be bound to; None if it stays without a driver."""
    if policy.driver not in (None, policies.DEFAULT_DRIVER):
        return model.Binding(policy.driver, policy.driver)
    return model.Binding(policies.DEFAULT_DRIVER, None) if probed else None


def is_userspace(driver: str | None) -> bool:
    """Decide by the driver's name, since no VF has it yet: vfio's variants have vfio in theirs, as mlx5_vfio_pci."""
    return driver in devices.USERSPACE_DRIVERS or (driver is not None and "vfio" in re.split(r"[-_]", driver))


def _administered(
    pf: model.Pf, policy: policies.PfPolicy, macs: Sequence[str] | None
) -> Iterator[steps.ProvisioningStep]:
    for index, mac in enumerate(macs or ()):
        yield _of_vf(pf, steps.Act.MAC, index, mac)
    if policy.spoofchk is not None:
        yield from _of_vfs(pf, policy, steps.Act.SPOOFCHK, policy.spoofchk)


def _of_pf(pf: model.Pf, act: steps.Act, before: Any, after: Any) -> steps.ProvisioningStep:
    return steps.ProvisioningStep(act, pf.pci, pf.label(), None, before, after)


def _of_vf(pf: model.Pf, act: steps.Act, index: int, after: Any) -> steps.ProvisioningStep:
    return steps.ProvisioningStep(act, pf.pci, pf.label(index), index, None, after)


def _of_vfs(pf: model.Pf, policy: policies.PfPolicy, act: steps.Act, after: Any) -> Iterator[steps.ProvisioningStep]:
    return (_of_vf(pf, act, index, after) for index in range(policy.numvfs))
