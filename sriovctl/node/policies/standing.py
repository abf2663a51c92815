"""Standing of an attachment to its network policies: what is wanted, and whether the kernel has it.

What is wanted is in the CNI daemon's table, which is on disk a second after a change. What is in force is asked of the
kernel, in the pod's namespace; who may not enter that takes what the daemon has seen there, from its notes.
"""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import msgspec

from sriov import errors
from sriov.cluster import pod_policies, policies
from sriov.linux import kernel
from sriov.state import ledger, policy_notes
from sriov_cni.dataplane.policies import policy_filter, policy_holdings, policy_sight
from sriov_cni.spec.policy_modes import UnknownPolicy
from sriovctl import paths
from sriovctl.node import attachments, snapshot

FRESH = 60.0
"""Seconds: older notes are not of a daemon that looks every five."""
_SETTLED = 1.5  # seconds after a change its table is on disk
_HELD = (attachments.State.ATTACHED, attachments.State.UNSEEN)

Enter = Callable[[str, tuple[int, int]], AbstractContextManager[kernel.Kernel]]
"""Opens a namespace by its path, which is to have this device and inode. Raises SriovError."""


class PolicyStanding(msgspec.Struct, frozen=True):
    """`policy` is what holds for the pod, None if it is not known, and `known` whether the daemon's table has the pod.

    `agrees` is whether the kernel has just that, None if that cannot be told; `evidence` is how one knows.
    """

    one: attachments.ListedAttachment
    held: pod_policies.PolicedPod
    policy: pod_policies.PodPolicy | None
    known: bool
    agrees: bool | None
    evidence: str


class PolicyStandings(msgspec.Struct, frozen=True):
    """`notes` are the daemon's, None without any; `trouble` is why its table cannot be read, "" if it can."""

    standings: tuple[PolicyStanding, ...] = ()
    notes: policy_notes.PolicyNotes | None = None
    trouble: str = ""

    def of(self, one: attachments.ListedAttachment) -> PolicyStanding | None:
        return next((each for each in self.standings if each.one.record.pci == one.record.pci), None)


class _Source(msgspec.Struct, frozen=True):
    table: policies.PolicyTable | None
    trouble: str
    notes: policy_notes.PolicyNotes | None
    enter: Enter | None


@contextlib.contextmanager
def entered(path: str, identity: tuple[int, int]) -> Iterator[kernel.Kernel]:
    """Enter a pod's namespace on this machine: an Enter."""
    from sriov.linux import netlink, netns  # noqa: PLC0415 (pyroute2 takes long)

    with netns.open_path(path) as pod, contextlib.closing(netlink.Netlink()) as net:
        if pod.identity != identity:
            raise errors.NetnsError(f"{path} is another namespace by now", "is the pod gone?")
        with net.inside(pod) as inner:
            yield inner


def look(
    where: paths.Places, seen: snapshot.Survey, held: tuple[attachments.ListedAttachment, ...], enter: Enter | None
) -> PolicyStandings:
    """Look at these attachments. Without `enter`, no namespace is entered. A second time if one does not agree: there
    may just have been a change."""
    found = _look(where, seen, held, enter)
    if any(each.agrees is False for each in found.standings):
        time.sleep(_SETTLED)
        found = _look(where, seen, held, enter)
    return found


def _look(
    where: paths.Places, seen: snapshot.Survey, held: tuple[attachments.ListedAttachment, ...], enter: Enter | None
) -> PolicyStandings:
    notes = policy_notes.NoteFile(where.run_dir).read()
    mine = [(one, one.record.policy) for one in held if one.state in _HELD and one.record.policy is not None]
    if not mine:
        return PolicyStandings(notes=notes)
    table, trouble = _table(where, seen.hidden.get("policies", ""))
    source = _Source(table, trouble, notes, enter)
    return PolicyStandings(tuple(_standing(source, one, hold) for one, hold in mine), notes, trouble)


def _table(where: paths.Places, hidden: str) -> tuple[policies.PolicyTable | None, str]:
    from sriov_cni.dataplane.policies import reception  # noqa: PLC0415 (asyncio takes long)

    if hidden:
        return None, hidden
    try:
        change = reception.kept(where.policies).loaded()
    except errors.SriovError as error:
        return None, f"{where.policies} cannot be used: {error.message}"
    if change is None:
        why = "no agent has sent the policies yet, or the CNI daemon keeps them elsewhere (--policy-snapshot)"
        return None, f"there is no {where.policies}: {why}"
    return policies.applied(policies.PolicyTable(), change), ""


def _standing(source: _Source, one: attachments.ListedAttachment, hold: ledger.PolicyHold) -> PolicyStanding:
    record = one.record
    held = policy_holdings.of(record.owner, hold, record.host_link, record.netns)
    policy = None if source.table is None else pod_policies.of(source.table, *held.asked)
    known = policy is not None
    if source.table is None:
        return PolicyStanding(one, held, None, known, None, source.trouble)
    kind = pod_policies.unwatched(source.table, hold.network)
    silent = f"the agent does not watch {kind}" if kind else "the agent tells nothing of this pod"
    if policy is None and hold.unknown != UnknownPolicy.REFUSE:
        policy = policy_holdings.unless_known(UnknownPolicy(hold.unknown))
    if policy is None:
        evidence = f"{silent}; the rules that it had stay"
        return PolicyStanding(one, held, None, known, None, evidence)
    agrees, evidence = _compared(source, held, policy)
    if not known:
        agrees = agrees or None  # it keeps what it had when it was known
        evidence = f"{silent}, policyUnknown is {hold.unknown}; {evidence}"
    return PolicyStanding(one, held, policy, known, agrees, evidence)


def _compared(
    source: _Source, held: pod_policies.PolicedPod, policy: pod_policies.PodPolicy
) -> tuple[bool | None, str]:
    """Ask the kernel, else the daemon's notes."""
    interface = held.scope.interface
    wanted = policy_filter.compiled(policy, held.scope)
    note = _note(source.notes, held)
    why = ""
    if source.enter is not None:
        try:
            with source.enter(held.path, held.netns) as inner:
                found = policy_sight.difference(inner, interface, wanted)
        except errors.SriovError as error:
            why = f"{error.message}; "
        else:
            return not found, _told(found, note) if found else _agreement(interface, wanted)
    if source.notes is None or note is None:
        return None, f"{why}the CNI daemon has not written down what is in the pod"
    at = moment(source.notes.looked)
    if time.time() - source.notes.looked > FRESH or note.digest is None:
        return None, f"{why}the CNI daemon looked last at {at}"
    if note.problem or note.digest != ("" if wanted is None else wanted.digest):
        return False, note.problem or f"the CNI daemon has put other rules in force, as of {at}"
    return True, f"{_agreement(interface, wanted)}, as the CNI daemon saw at {at}"


def _note(notes: policy_notes.PolicyNotes | None, held: pod_policies.PolicedPod) -> policy_notes.PolicyNote | None:
    mine = (each for each in (notes.pods if notes else ()) if (each.netns, each.interface) == held.key)
    return next(mine, None)


def _told(found: str, note: policy_notes.PolicyNote | None) -> str:
    return f"{found}; {note.problem}" if note is not None and note.problem else found


def _agreement(interface: str, wanted: policy_filter.Filter | None) -> str:
    if wanted is None:
        return "no policy selects the pod, and there are no rules"
    return f"the table {policy_filter.table_name(interface)} is in the pod, with the digest {wanted.digest}"


def moment(when: float) -> str:
    """Return a time as RFC 3339, in UTC."""
    return datetime.datetime.fromtimestamp(when, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
