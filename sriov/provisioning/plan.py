"""Plan that makes a node as the file declares it: facts and policies in, steps out. Pure.

Kernel facts that order the steps: sriov_numvfs goes from 0 to N and from N to 0 and nowhere else (drivers/pci/iov.c,
sriov_numvfs_store()); an eswitch changes its mode with no VFs (mlx5, eswitch_offloads.c); a VF's MTU is limited by its
PF's; igbvf finds a PF that is down "still in reset state"; a driver takes a VF's administered MAC when it is bound, and
with drivers_autoprobe 0 only driver_override binds one (drivers/pci/pci-driver.c, pci_device_can_probe()).
"""

from collections.abc import Iterator, Sequence

import msgspec

from sriov import settings
from sriov.provisioning import existing_vf_steps, model, new_vf_steps, policies, steps

Macs = Sequence[str] | None


class Plan(msgspec.Struct, frozen=True):
    """`refusals` are the reasons to do nothing at all; `notes` name what is left as it is, and why."""

    steps: tuple[steps.ProvisioningStep, ...]
    notes: tuple[str, ...]
    refusals: tuple[str, ...]


def make(found: model.NodeFacts, wanted: Sequence[policies.PfPolicy]) -> Plan:
    """Make the plan. The first policy, in file order, that takes a PF counts; a PF that none takes stays as it is."""
    taken = [(pf, next((each for each in wanted if each.selector.takes(pf)), None)) for pf in found.pfs]
    made: list[steps.ProvisioningStep] = []
    notes: list[str] = []
    refusals: list[str] = []
    notes += [_kept(pf) for pf, chosen in taken if chosen is None and _declared(pf)]
    for policy in wanted:
        pfs = [pf for pf, chosen in taken if chosen is policy]
        if not pfs:
            notes.append(f"policy {policy.name} takes no PF of this node")
        refusals += _range_too_small(policy, len(pfs))
        for number, pf in enumerate(pfs):
            why_not = [*_refusals(pf, policy, found.drivers)]
            refusals += why_not
            if not why_not:
                made += _steps(pf, policy, _macs(policy, number))
                notes += _notes(pf, policy)
    return Plan(tuple(made), tuple(notes), tuple(refusals))


def _declared(pf: model.Pf) -> bool:
    return any(vf.declared not in (None, settings.UNNAMED) for vf in pf.vfs)


def _kept(pf: model.Pf) -> str:
    return f"{pf.label()}: no policy takes it; what an earlier file declares of its VFs counts until they are recreated"


def _rebuilt(pf: model.Pf, policy: policies.PfPolicy) -> bool:
    """Report whether the PF's VFs, if there are any, have to be removed and new ones made."""
    return len(pf.vfs) != policy.numvfs or policy.eswitch not in (None, pf.eswitch)


def _macs(policy: policies.PfPolicy, number: int) -> Macs:
    """Return the addresses for the `number`-th PF that the policy takes: each PF has the next `numVfs` of the range."""
    if policy.macs is None:
        return None
    start = number * policy.numvfs
    if start + policy.numvfs > len(policy.macs):
        return None  # the whole plan is refused
    return [policy.macs[start + index] for index in range(policy.numvfs)]


def _range_too_small(policy: policies.PfPolicy, pfs: int) -> Iterator[str]:
    needed = pfs * policy.numvfs
    if policy.macs is not None and needed > len(policy.macs):
        yield (
            f"policy {policy.name}: macRange has {len(policy.macs)} addresses for {needed} VFs of {pfs} PFs;"
            " make it longer"
        )


def _refusals(pf: model.Pf, policy: policies.PfPolicy, drivers: frozenset[str]) -> Iterator[str]:
    where = f"{pf.label()} (policy {policy.name})"
    if policy.numvfs > pf.totalvfs:
        yield f"{where}: numVfs {policy.numvfs} is more than the card has; it has {pf.totalvfs}"
    if pf.driver is None and _rebuilt(pf, policy):
        yield f"{where}: it has no driver to make VFs; bind it to its own"
    if policy.eswitch is not None and pf.eswitch is None:
        yield f"{where}: it has no eswitch for eswitchMode {policy.eswitch.value}; leave the key out"
    needs_netdev = (policy.mtu, policy.trust, policy.spoofchk, policy.macs) != (None,) * 4
    if pf.netdev is None and needs_netdev:
        yield f"{where}: it has no netdev to set mtu, trust, spoofchk or MACs through; is its driver loaded?"
    if policy.driver not in (None, policies.DEFAULT_DRIVER) and policy.driver not in drivers and policy.numvfs:
        yield f"{where}: the kernel has no driver {policy.driver}; load it, as in `modprobe {policy.driver}`"
    yield from _refused_for_users(pf, policy, where)


def _refused_for_users(pf: model.Pf, policy: policies.PfPolicy, where: str) -> Iterator[str]:
    """Refuse what would touch every VF, used ones too: a PF's driver resets its VFs for another MTU."""
    if not pf.in_use:
        return
    users = ", ".join(f"{pf.label(vf.index)} by {vf.user}" for vf in pf.in_use)
    remedy = f"in use: {users}; end or move these first, for example by draining the node"
    if _rebuilt(pf, policy):
        change = (
            f"{len(pf.vfs)} VFs cannot become {policy.numvfs}"
            if len(pf.vfs) != policy.numvfs
            else f"eswitchMode cannot become {steps.said(policy.eswitch)}"
        )
        yield f"{where}: {change} without removing all of its VFs; {remedy}"
    elif policy.mtu not in (None, pf.mtu):
        yield f"{where}: mtu cannot become {policy.mtu} without a reset of its VFs; {remedy}"


def _notes(pf: model.Pf, policy: policies.PfPolicy) -> Iterator[str]:
    if policy.of_vfs:
        for vf in pf.in_use:
            yield f"{pf.label(vf.index)} is in use by {vf.user} and stays as it is"
    for vf in pf.vfs if not _rebuilt(pf, policy) else ():
        if vf.without_netdev and not vf.user:
            why = f"its driver {vf.binding.driver} has brought none, see the kernel's log"
            yield f"{pf.label(vf.index)} has no netdev: {why}"
    if (policy.trust, policy.spoofchk, policy.macs) != (None, None, None) and not _rebuilt(pf, policy):
        for vf in pf.vfs:
            if vf.shown is None and not vf.user:
                yield f"{pf.label(vf.index)}: its PF does not show what trust, spoofchk and MAC are; they stay"


def _steps(pf: model.Pf, policy: policies.PfPolicy, macs: Macs) -> Iterator[steps.ProvisioningStep]:
    rebuilt = _rebuilt(pf, policy)
    if rebuilt and pf.vfs:
        yield existing_vf_steps.removal(pf)
    if policy.eswitch not in (None, pf.eswitch):
        yield steps.ProvisioningStep(steps.Act.ESWITCH, pf.pci, pf.label(), None, pf.eswitch, policy.eswitch)
    if rebuilt and policy.numvfs and pf.netdev and not pf.up:
        yield steps.ProvisioningStep(steps.Act.UP, pf.pci, pf.label(), None, False, True)
    # Another eswitch mode may bring another netdev, whose MTU is the usual one.
    if policy.mtu is not None and (policy.mtu != pf.mtu or policy.eswitch not in (None, pf.eswitch)):
        yield steps.ProvisioningStep(steps.Act.MTU, pf.pci, pf.label(), None, pf.mtu, policy.mtu)
    if not rebuilt:
        yield from existing_vf_steps.changes(pf, policy, macs)
    elif policy.numvfs:
        yield from new_vf_steps.creation(pf, policy, macs)
