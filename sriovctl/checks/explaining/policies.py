"""Verdicts on network policies: whether what they say of pods is in force, for explain and doctor. Pure."""

import time
from collections.abc import Iterator

from sriov.cluster import pod_policies, policies
from sriov.state import policy_notes
from sriovctl.checks.explaining.chain import ChainLink, Reply
from sriovctl.checks.findings import Finding, Kind
from sriovctl.node import facts
from sriovctl.node.policies import standing

SAID = ("keeping policies in force", "policies of ")
"""Beginnings of what the daemon says when that work fails (sriov_cni/commands/membership/policy_rounds.py), and of what
nothing can hold (sriov_cni/dataplane/policies/policy_enforcer.py)."""
RESTORE = "the CNI daemon, with --policy-socket, restores rules within 5 seconds; its log says what the kernel refuses"
_PATIENCE = 60.0  # seconds without an agent: an upgrade is shorter


def step(one: standing.PolicyStanding) -> ChainLink:
    """Return the step of explain."""
    replies = {True: Reply.YES, False: Reply.NO, None: Reply.UNSEEN}
    text = f"{_told(one.policy)}; {one.evidence}" if one.policy is not None else one.evidence
    remedy = RESTORE if one.agrees is False else ""
    return ChainLink("policy", "are its network policies in force?", replies[one.agrees], text, remedy)


def _told(policy: pod_policies.PodPolicy) -> str:
    return ", ".join(f"{each}: {_of(policy.of(each))}" for each in policies.PolicyDirection)


def _of(grants: tuple[policies.Grant, ...] | None) -> str:
    if grants is None:
        return "everything"
    return f"what {len(grants)} {'policy lets' if len(grants) == 1 else 'policies let'} pass" if grants else "nothing"


def doctor(found: facts.Facts) -> Iterator[Finding]:
    """Yield what keeps pods from being held to their policies, or has done so."""
    for each in found.policies.standings:
        if each.agrees is False:
            yield Finding(Kind.POLICY_NOT_IN_FORCE, _name(each), each.evidence)
    notes = found.policies.notes
    if found.daemon_trouble or notes is None or time.time() - notes.looked > standing.FRESH:
        if found.policies.standings and not found.daemon_trouble:
            evidence = (
                f"pods are held to policies, as {_name(found.policies.standings[0])} is, and no daemon keeps them"
            )
            yield Finding(Kind.POLICIES_UNKEPT, str(found.where.daemon_socket), evidence)
        return
    yield from _noted(found, notes)


def _noted(found: facts.Facts, notes: policy_notes.PolicyNotes) -> Iterator[Finding]:
    for note in notes.pods:
        if note.repairs:
            times = "once" if note.repairs == 1 else f"{note.repairs} times"
            evidence = f"in its namespace, {times} since the daemon's start, last at {standing.moment(note.repaired)}"
            yield Finding(Kind.POLICY_CHANGED, f"{note.namespace}/{note.pod} {note.interface}", evidence)
    if notes.silent_since is not None and notes.looked - notes.silent_since > _PATIENCE:
        evidence = f"no agent has been connected since {standing.moment(notes.silent_since)}"
        yield Finding(Kind.POLICIES_SILENT, str(found.where.daemon_socket), evidence)


def _name(one: standing.PolicyStanding) -> str:
    namespace, pod, _ = one.held.place
    return f"{namespace}/{pod} {one.held.scope.interface}"
