"""Gaps: what doctor could not look at, and how bad the findings are that this may hide. Pure."""

from collections.abc import Iterator

import msgspec

from sriovctl.checks.findings import Severity
from sriovctl.node import facts, pcie

_HIDES = {
    "policy": ("the node's policy", Severity.ERROR),
    "kubelet": ("what is registered", Severity.ERROR),
    "plugin": ("the CNI plugin", Severity.ERROR),
    "networks": ("networks", Severity.ERROR),
    "network managers": ("network managers", Severity.WARNING),
}


class Gap(msgspec.Struct, frozen=True):
    """`hides` is the severity of the worst finding that there may be."""

    text: str
    hides: Severity


def of(found: facts.Facts) -> Iterator[Gap]:
    for text in found.seen.unseen:  # if it is not hidden, a finding of its own says how bad that is
        yield Gap(text, Severity.ERROR if text.endswith(tuple(found.seen.hidden.values())) else Severity.WARNING)
    for about, (name, severity) in _HIDES.items():
        if about in found.seen.hidden:
            yield Gap(f"{name}: {found.seen.hidden[about]}", severity)
    if found.policies.trouble:
        yield Gap(f"network policies: {found.policies.trouble}", Severity.ERROR)
    if "kernel" in found.seen.hidden and not found.kernel.config:
        yield Gap(f"the kernel's configuration: {found.seen.hidden['kernel']}", Severity.INFO)
    closed = [pci for pci, one in found.functions.items() if one.redirects is None and _is_between(found, one)]
    if closed:
        text = f"ACS of {', '.join(closed)}: reading it needs CAP_SYS_ADMIN, which this container or user does not have"
        yield Gap(text, Severity.WARNING)


def _is_between(found: facts.Facts, bridge: pcie.Function) -> bool:
    """Report whether there are both GPUs and NICs in the machine, and one of them is below this bridge."""
    ends = [one for one in found.functions.values() if one.is_gpu or one.is_nic]
    both = any(one.is_gpu for one in ends) and any(one.is_nic for one in ends)
    return both and any(bridge.pci in one.path for one in ends)
