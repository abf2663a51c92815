"""Comparison of what is in a pod's namespace with what is wanted there. Reads only."""

from sriov.linux import kernel
from sriov_cni.dataplane.policies import policy_filter, whereabouts

Rules = tuple[bytes, ...]


def difference(
    inner: kernel.Kernel, interface: str, wanted: policy_filter.Filter | None, known: Rules | None = None
) -> str:
    """Return in words what is not as it is wanted; "" if all is. `known` are the rules, if they were read before."""
    if wanted is not None:
        return lack(inner, wanted, rules(inner, wanted, known), known)
    table = policy_filter.table_name(interface)
    is_there = inner.nft_rules(table, 1) or inner.nft_comment(table, policy_filter.STAMP)
    return f"the table {table} is there, and no policy selects the pod" if is_there else ""


def rules(inner: kernel.Kernel, wanted: policy_filter.Filter, known: Rules | None = None) -> Rules:
    """Return the rules that are there: one more than there are to be at most, which is enough to tell, as root in the
    pod can add a million. A table for packet sockets where they are not held does nothing for us, and may stay."""
    table = policy_filter.table_name(wanted.scope.interface)
    return inner.nft_rules(table, _count(inner, wanted, known) + 1, netdev=wanted.scope.raw)


def _count(inner: kernel.Kernel, wanted: policy_filter.Filter, known: Rules | None) -> int:
    return wanted.rules(devices(inner, wanted)) if known is None else len(known)


def lack(inner: kernel.Kernel, wanted: policy_filter.Filter, there: Rules, known: Rules | None = None) -> str:
    """Return the same of a pod that a policy selects. `there` are its rules."""
    table = policy_filter.table_name(wanted.scope.interface)
    digest = inner.nft_comment(table, policy_filter.STAMP)
    if not there and not digest:
        return f"the table {table} is not there"
    if digest != wanted.digest:
        return f"the table {table} has {f'the digest {digest}' if digest else 'no digest'}, not {wanted.digest}"
    count = _count(inner, wanted, known)
    if len(there) != count:
        return f"the table {table} has {'at least ' if len(there) > count else ''}{len(there)} rules, not {count}"
    if known is not None and there != known:
        return f"the table {table} has other rules than were made"
    return _addresses(inner, table, wanted)


def devices(inner: kernel.Kernel, wanted: policy_filter.Filter) -> list[str]:
    """Return those of the scope's interfaces that are in the pod, if it matters."""
    return [each for each in wanted.scope.devices if whereabouts.link(inner, each)] if wanted.raw else []


def _addresses(inner: kernel.Kernel, table: str, wanted: policy_filter.Filter) -> str:
    for name, expected in wanted.sets.items():
        found = inner.nft_elements(table, name, len(expected) + 1)
        if len(found) > len(expected):
            return f"the set {name} of the table {table} has {len(found - expected)} addresses too many, or more"
        if lost := expected - found:
            return f"the set {name} of the table {table} lacks {len(lost)} addresses"
    return ""
