"""Tables of policies in a pod's namespace: put there, changed, and compared with what is to be there."""

import contextlib
import logging
import secrets
from collections.abc import Iterator

from sriov import errors
from sriov.cluster import pod_policies
from sriov.linux import kernel
from sriov_cni.dataplane.policies import policy_filter, policy_sight, whereabouts
from sriov_cni.dataplane.policies.held_pods import HeldPod

_log = logging.getLogger(__name__)
_LEAST_MARK = 1 << 16  # those that people write are smaller


def find(inner: kernel.Kernel, held: HeldPod, policy: pod_policies.PodPolicy) -> str:
    """See whether the rules still meet the pod's interfaces, which root in the pod can rename and move. Returns why
    they do not, "" if they do."""
    if not policy.selected:
        return ""
    renamed, missing = whereabouts.look(inner, held.holding.scope, held.seen)
    for name, was in renamed:
        held.mended()
        _log.error("interface %s of %s was renamed to %s in the pod: it has its name again", name, held.name, was)
    return missing


def bring(inner: kernel.Kernel, held: HeldPod, policy: pod_policies.PodPolicy) -> None:
    """Have this policy in force; what others have changed meanwhile is set right. Raises KernelError."""
    first, same = held.policy is None, policy == held.policy
    wanted = held.wanted if same else policy_filter.compiled(policy, held.holding.scope)
    if first:
        done = _found(inner, held, wanted)
    elif held.wanted is None:
        done = wanted is None
    else:
        done = _intact(inner, held, held.wanted) and _changed(inner, held, held.wanted, wanted)
    if not done and not (first and wanted is not None and _placed(inner, held, wanted)):
        _replace(inner, held, wanted)
    held.policy, held.wanted = policy, wanted


def arrived(inner: kernel.Kernel, held: HeldPod, device: str) -> None:
    """Hold packet sockets on a device that has come into the pod and is not up yet. Raises UnsupportedError."""
    with _told_of_raw(device):
        inner.run_nft(policy_filter.raw_chain(held.holding.scope, held.mark, device))
    held.chained, held.rules = [*held.chained, device], None
    held.generation = _following(held.generation)


def remember(inner: kernel.Kernel, held: HeldPod) -> None:
    """Read the rules as they were made, if that was not done yet and nobody has changed any since."""
    if held.wanted is not None and held.rules is None:
        rules = policy_sight.rules(inner, held.wanted)
        if inner.nft_generation() == held.generation:
            held.rules = rules


def is_anothers(inner: kernel.Kernel, held: HeldPod, policy: pod_policies.PodPolicy) -> bool:
    """Report whether there are rules, of another policy than this."""
    scope, wanted = held.holding.scope, policy_filter.compiled(policy, held.holding.scope)
    digest = inner.nft_comment(policy_filter.table_name(scope.interface), policy_filter.STAMP)
    return digest not in ("", wanted.digest if wanted else "")


def _found(inner: kernel.Kernel, held: HeldPod, wanted: policy_filter.Filter | None) -> bool:
    """Report whether what is there, of a former daemon, is what is wanted."""
    digest = inner.nft_comment(held.table, policy_filter.STAMP)
    if digest == "" or wanted is None or digest != wanted.digest:
        return digest == "" and wanted is None
    held.chained = policy_sight.devices(inner, wanted)
    return _is_whole(inner, held, wanted)


def _intact(inner: kernel.Kernel, held: HeldPod, wanted: policy_filter.Filter) -> bool:
    """Report whether nobody has changed the table since; count and log it if somebody has.

    Rules that were not read before somebody changed nftables in the pod, which may be his own, prove nothing: others of
    the same number may be in their place. They are replaced, and nobody is blamed.
    """
    as_before = {*policy_sight.devices(inner, wanted)} == {*held.chained}
    if as_before and inner.nft_generation() == held.generation:
        return True
    if as_before and held.rules is None and not policy_sight.lack(inner, wanted, policy_sight.rules(inner, wanted)):
        return False
    if as_before and held.rules is not None and _is_whole(inner, held, wanted):
        return True
    held.mended()
    _log.error(
        "the rules of %s for its network policies were changed in its namespace: they are restored;"
        " a pod with NET_ADMIN can do that",
        held.name,
    )
    return False


def _placed(inner: kernel.Kernel, held: HeldPod, wanted: policy_filter.Filter) -> bool:
    """Put it in a namespace that has none yet, which is quicker; report whether that was so."""
    mark, devices = _mark(), policy_sight.devices(inner, wanted)
    try:
        _make(inner, held, policy_filter.commands(wanted, mark, devices, fresh=True))
    except errors.KernelError:  # whatever is there is not of ours, or of before
        return False
    held.mark, held.chained = mark, devices
    return True


def _replace(inner: kernel.Kernel, held: HeldPod, wanted: policy_filter.Filter | None) -> None:
    """Put it in the place of whatever is there, in one transaction."""
    if wanted is None:
        inner.run_nft(policy_filter.removal(held.holding.scope))
        return
    mark, devices = _mark(), policy_sight.devices(inner, wanted)
    _make(inner, held, policy_filter.commands(wanted, mark, devices))
    held.mark, held.chained = mark, devices


def _mark() -> int:
    return _LEAST_MARK + secrets.randbelow((1 << 32) - _LEAST_MARK)


def _make(inner: kernel.Kernel, held: HeldPod, commands: str) -> None:
    """Make rules, and note nftables' generation after that; they are read when no ADD waits for it (`remember`)."""
    before = inner.nft_generation()
    inner.run_nft(commands)
    held.generation, held.rules = _following(before), None


def _following(generation: int) -> int:
    """Return the generation after one transaction more. One that is another was not only of ours.

    It is never 0 (net/netfilter/nf_tables_api.c, nf_tables_commit).
    """
    return (generation + 1) & 0xFFFFFFFF or 1


def _changed(
    inner: kernel.Kernel, held: HeldPod, before: policy_filter.Filter, wanted: policy_filter.Filter | None
) -> bool:
    """Change addresses, if no more than that has changed; report whether that was enough."""
    if before == wanted:
        return True
    commands = None if wanted is None else policy_filter.change(before, wanted)
    if commands is None:
        return False
    try:
        inner.run_nft(commands)
    except errors.KernelError as error:
        _log.warning("addresses of a policy could not be changed, so all of it is replaced: %s", error)
        return False
    held.generation = _following(held.generation)
    return True


def _is_whole(inner: kernel.Kernel, held: HeldPod, wanted: policy_filter.Filter) -> bool:
    """Compare what is in the kernel, digest, rules and addresses, and note it if it is what is wanted."""
    generation, rules = inner.nft_generation(), policy_sight.rules(inner, wanted, held.rules)
    whole = not policy_sight.lack(inner, wanted, rules, held.rules)
    if whole:
        held.generation, held.rules = generation, rules
    return whole


@contextlib.contextmanager
def _told_of_raw(device: str) -> Iterator[None]:
    try:
        yield
    except errors.KernelError as error:
        raise errors.UnsupportedError(
            f"policyRaw: the kernel takes no rules for what leaves {device}: {error.message}",
            "use Linux 5.16 or later, with NETFILTER_EGRESS; or leave policyRaw out",
        ) from error
