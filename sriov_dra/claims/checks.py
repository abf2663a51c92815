"""Checks of a claim before it is prepared: whose it is, and whether its devices are free. Pure."""

from collections.abc import Iterable, Mapping

from sriov.pools import health
from sriov.state import grants, ledger
from sriov_dra.claims import claim_objects, reading

_LETS = {health.AilmentKind.LINK_DOWN}
"""Ailments that do not keep a claim from being prepared: a link comes back, and the taint keeps new claims away."""


def pods(claim: claim_objects.ClaimObject, before: grants.ClaimGrant | None) -> tuple[grants.GrantedPod, ...]:
    """Return the pod that the claim is for. A VF is in one pod, so a claim that several share is refused.

    If the claim is prepared already, it stays with its pod: the kubelet asks again when it starts. Raises ClaimError.
    """
    reserved = [each for each in claim.status.reserved_for if (each.resource, each.api_group) == ("pods", "")]
    found = tuple(grants.GrantedPod(each.name, each.uid) for each in reserved)
    if before is not None and (stay := tuple(each for each in found if each in before.pods)):
        return stay
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise reading.ClaimError(
            f"the claim is shared by {len(found)} pods ({names}), and a VF can be in one pod only",
            "give each pod a claim of its own, by a ResourceClaimTemplate",
        )
    if not found:
        raise reading.ClaimError(
            "the claim is reserved for no pod", "the scheduler reserves it; the kubelet tries again"
        )
    return found


def refuse_taken(
    device: str,
    uid: str,
    granted: Mapping[str, grants.ClaimGrant],
    record: ledger.Record | None,
    ailments: Iterable[health.Ailment],
) -> None:
    """Refuse a device that is not free. One that this claim has already is its own. Raises ClaimError."""
    grant = granted.get(device)
    if grant is not None and grant.uid == uid:
        return
    if grant is not None:
        raise reading.ClaimError(
            f"{device} is granted to {grant}", "it is free once the kubelet has unprepared that claim"
        )
    if record is not None:
        problem = f", and could not be taken back: {record.problem}" if record.problem else ""
        raise reading.ClaimError(
            f"{device} is held by {record.owner}, which has it by no claim{problem}",
            "it is free once its pod is gone and it is clean; see `sriovctl explain`",
        )
    for ailment in ailments:
        if ailment.kind not in _LETS:
            raise reading.ClaimError(f"{device} cannot be given: it {ailment.text}", "see `sriovctl doctor`")


def refuse_changed(device: str, how: str | None) -> None:
    """Refuse a device that is another one since the driver's last look at the node. Raises ClaimError."""
    if how is not None:
        raise reading.ClaimError(
            f"{device} cannot be given: it {how}",
            "the kubelet tries again; if it stays so, let the pod be scheduled again",
        )


def refuse_one_name(interfaces: Iterable[str]) -> None:
    """Refuse two VFs of one interface name. Raises ClaimError."""
    named = [each for each in interfaces if each]
    for name in named:
        if named.count(name) > 1:
            raise reading.ClaimError(
                f"two VFs of the claim have the interface name {name!r}",
                "give each request a VfNetwork of its own, by `requests`, or leave `interface` out",
            )
