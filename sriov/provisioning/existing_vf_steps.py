"""Steps that change the existing VFs of a PF, or remove them all. Pure. A VF in use has no step that it would notice.

Declared defaults are written first, so that a VF whose pod comes and goes meanwhile is left as declared. A VF that a
pod gave back has its own address and no administered one: so the netdev's address is compared, if there is a netdev.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from sriov import settings
from sriov.provisioning import model, new_vf_steps, policies, steps


def removal(pf: model.Pf) -> steps.ProvisioningStep:
    """Go from N VFs to 0. The way back makes as many again, and states all that could be read of each."""
    restore = [step for vf in pf.vfs for step in _restored(pf, vf)]
    return steps.ProvisioningStep(steps.Act.NUMVFS, pf.pci, pf.label(), None, len(pf.vfs), 0, tuple(restore))


def changes(pf: model.Pf, policy: policies.PfPolicy, macs: Sequence[str] | None) -> Iterator[steps.ProvisioningStep]:
    """Yield steps, act by act, for the free VFs of a PF that keeps its VFs; steps for defaults, for all its VFs."""
    for vf in pf.vfs:
        if vf.declared != policy.declared:
            yield _of(pf, vf, steps.Act.DEFAULTS, vf.declared, policy.declared)
    free = [vf for vf in pf.vfs if not vf.user]
    rebound = {vf.index for vf in free if _is_rebound(vf, policy)}
    for vf in free:
        if macs is not None:
            yield from _mac(pf, vf, macs[vf.index], rebound=vf.index in rebound)
    yield from _switches(pf, free, steps.Act.SPOOFCHK, policy.spoofchk)
    if rebound and policy.driver == policies.DEFAULT_DRIVER and not pf.autoprobe:
        yield steps.ProvisioningStep(steps.Act.AUTOPROBE, pf.pci, pf.label(), None, False, True)
    for vf in free:
        if vf.index in rebound:
            step = _of(pf, vf, steps.Act.DRIVER, vf.binding, new_vf_steps.wanted_binding(policy, probed=True))
            yield msgspec.structs.replace(step, restore=tuple(_readdressed(pf, vf)))
    for vf in free:
        yield from _mtu(pf, vf, policy, rebound=vf.index in rebound)
    yield from _switches(pf, free, steps.Act.TRUST, policy.trust)  # last, as in new_vf_steps


def _is_rebound(vf: model.Vf, policy: policies.PfPolicy) -> bool:
    if policy.driver is None:
        return False
    if policy.driver == policies.DEFAULT_DRIVER:
        return (
            vf.binding.override is not None or vf.binding.driver is None or new_vf_steps.is_userspace(vf.binding.driver)
        )
    return vf.binding != model.Binding(policy.driver, policy.driver)


def _mac(pf: model.Pf, vf: model.Vf, wanted: str, *, rebound: bool) -> Iterator[steps.ProvisioningStep]:
    """A netdev refuses another address while one is administered (igbvf, iavf), so that is taken away first.

    A driver that is still to be bound takes the administered one.
    """
    if vf.shown is None:
        return
    if vf.address is None or rebound:
        if vf.shown.mac != wanted:
            yield _of(pf, vf, steps.Act.MAC, vf.shown.mac, wanted)
        return
    if vf.address == wanted:
        return
    if vf.shown.mac != settings.NO_MAC:
        yield _of(pf, vf, steps.Act.MAC, vf.shown.mac, settings.NO_MAC)
    yield _of(pf, vf, steps.Act.ADDRESS, vf.address, wanted)
    yield _of(pf, vf, steps.Act.MAC, settings.NO_MAC, wanted)


def _switches(
    pf: model.Pf, free: Sequence[model.Vf], act: steps.Act, wanted: bool | None
) -> Iterator[steps.ProvisioningStep]:
    for vf in free:
        now = None if vf.shown is None else getattr(vf.shown, act.value)
        if None not in (wanted, now) and now != wanted:
            yield _of(pf, vf, act, now, wanted)


def _mtu(pf: model.Pf, vf: model.Vf, policy: policies.PfPolicy, *, rebound: bool) -> Iterator[steps.ProvisioningStep]:
    """Set the VF's MTU. A VF that gets another driver has a new netdev, or none."""
    if policy.mtu is None or (rebound and new_vf_steps.is_userspace(policy.driver)):
        return
    if rebound or vf.mtu not in (None, policy.mtu):
        yield _of(pf, vf, steps.Act.MTU, None if rebound else vf.mtu, policy.mtu)


def _readdressed(pf: model.Pf, vf: model.Vf) -> Iterator[steps.ProvisioningStep]:
    """Restore the address: the VF's own driver, bound again, uses the administered one, or a random one."""
    if vf.address is None:
        return
    if vf.shown is not None:
        yield _of(pf, vf, steps.Act.MAC, None, settings.NO_MAC)
    yield _of(pf, vf, steps.Act.ADDRESS, None, vf.address)
    yield _of(pf, vf, steps.Act.MTU, None, vf.mtu)
    if vf.shown is not None and vf.shown.mac != settings.NO_MAC:
        yield _of(pf, vf, steps.Act.MAC, None, vf.shown.mac)


def _restored(pf: model.Pf, vf: model.Vf) -> Iterator[steps.ProvisioningStep]:
    """Restore the VF: address first, while none is administered; a userspace driver after that, and trust last."""
    if vf.address is not None:
        yield _of(pf, vf, steps.Act.ADDRESS, None, vf.address)
    if vf.mtu is not None:
        yield _of(pf, vf, steps.Act.MTU, None, vf.mtu)
    if vf.shown is not None:
        if vf.shown.mac != settings.NO_MAC:
            yield _of(pf, vf, steps.Act.MAC, None, vf.shown.mac)
        yield _of(pf, vf, steps.Act.SPOOFCHK, None, vf.shown.spoofchk)
    if vf.binding.override is not None or vf.binding.driver is None:
        yield _of(pf, vf, steps.Act.DRIVER, None, vf.binding)
    if vf.shown is not None:
        yield _of(pf, vf, steps.Act.TRUST, None, vf.shown.trust)
    if vf.declared not in (None, settings.UNNAMED):
        yield _of(pf, vf, steps.Act.DEFAULTS, None, vf.declared)


def _of(pf: model.Pf, vf: model.Vf, act: steps.Act, before: Any, after: Any) -> steps.ProvisioningStep:
    return steps.ProvisioningStep(act, pf.pci, pf.label(vf.index), vf.index, before, after)
