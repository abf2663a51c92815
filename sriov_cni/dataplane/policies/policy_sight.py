"""Comparison of what is in a pod's namespace with what is wanted there. Reads only."""

from sriov.linux import kernel
from sriov_cni.dataplane.policies import policy_filter

Rules = tuple[bytes, ...]


def difference(
    inner: kernel.Kernel, interface: str, wanted: policy_filter.Filter | None, known: Rules | None = None
) -> str:
    """Return in words what is not as it is wanted; "" if all is. `known` are the rules, if they were read before."""
    table = policy_filter.table_name(interface)
    rules = inner.nft_rules(table)
    if wanted is not None:
        return lack(inner, wanted, rules, known)
    is_there = rules or inner.nft_comment(table, policy_filter.STAMP)
    return f"the table {table} is there, and no policy selects the pod" if is_there else ""


def lack(inner: kernel.Kernel, wanted: policy_filter.Filter, rules: Rules, known: Rules | None = None) -> str:
    """Return the same of a pod that a policy selects. `rules` are those that are there."""
    table = policy_filter.table_name(wanted.scope.interface)
    digest = inner.nft_comment(table, policy_filter.STAMP)
    if not rules and not digest:
        return f"the table {table} is not there"
    if digest != wanted.digest:
        return f"the table {table} has {f'the digest {digest}' if digest else 'no digest'}, not {wanted.digest}"
    count = wanted.rules(devices(inner, wanted)) if known is None else len(known)
    if len(rules) != count:
        return f"the table {table} has {len(rules)} rules, not {count}"
    if known is not None and rules != known:
        return f"the table {table} has other rules than were made"
    return _addresses(inner, table, wanted)


def devices(inner: kernel.Kernel, wanted: policy_filter.Filter) -> list[str]:
    """Return those of the scope's interfaces that are in the pod, if it matters."""
    there = {each.name for each in inner.links()} if wanted.raw else frozenset[str]()
    return [each for each in wanted.scope.devices if each in there]


def _addresses(inner: kernel.Kernel, table: str, wanted: policy_filter.Filter) -> str:
    for name, expected in wanted.sets.items():
        found = inner.nft_elements(table, name)
        if lost := expected - found:
            return f"the set {name} of the table {table} lacks {len(lost)} addresses"
        if found != expected:
            return f"the set {name} of the table {table} has {len(found - expected)} addresses too many"
    return ""
