"""Names as a person writes them: devices, PFs, pods and resources, short where only one thing on the node is meant.

A name that fits two things is a usage error that lists both. A device is a PCI address, with or without its domain
(as lspci prints it), a netdev, or `PF#INDEX`, as `inventory` prints it.
"""

import re
from collections.abc import Collection

import click

from sriov import devices, errors, layout
from sriov.hardware import node_devices
from sriovctl.node import snapshot

_SHORT = re.compile(r"[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_KINDS = ("pod/", "pods/", "po/")  # as kubectl takes it


def device(seen: snapshot.Survey, text: str) -> str | None:
    """Return the ID of the device that is meant; None if the text is no address and nothing here has this name."""
    address = text.lower()
    known = {*seen.catalog.candidates, *seen.held}
    if _SHORT.fullmatch(address):
        return _only("device", text, [one for one in known if one.endswith(f":{address}")]) or f"0000:{address}"
    try:
        return devices.pci_address(address)
    except errors.DeviceError:
        return _only("device", text, [one.id for one in seen.catalog.candidates.values() if text in _names(one)])


def address(seen: snapshot.Survey, text: str) -> devices.PciAddress:
    """Return the PCI address of the device that is meant. Raises click.UsageError if there is none."""
    found = device(seen, text)
    try:
        return devices.pci_address(found)
    except errors.DeviceError:
        raise click.UsageError(
            f"{text!r} is neither a PCI address nor a netdev of this node: write one, as in 0000:01:10.0 or 01:10.0"
        ) from None


def pf(seen: snapshot.Survey, text: str) -> str:
    """Return the ID of a PF. Raises click.UsageError, which lists the PFs, if it is not one."""
    pfs = [one for one in seen.catalog.candidates.values() if one.role is node_devices.Role.PF]
    found = device(seen, text)
    if found in [one.id for one in pfs]:
        return str(found)
    there = layout.some([" ".join((one.id, *one.netdevs)) for one in pfs], 8)
    raise click.UsageError(f"{text!r} is no PF of this node, which has {there or 'none'}")


def pod(seen: snapshot.Survey, text: str) -> str:
    """Return a pod as namespace/name. A name alone is one in namespace default, or the only one here with that name."""
    known = pods(seen)
    if text in known:
        return text
    for kind in _KINDS:
        text = text.removeprefix(kind)
    if "/" in text:
        return text
    usual = f"default/{text}"
    here = [] if usual in known else [each for each in known if each.partition("/")[2] == text]
    return _only("pod", text, here) or usual


def pods(seen: snapshot.Survey) -> frozenset[str]:
    """Return the pods that the kubelet or the CNI daemon's log of calls names."""
    return seen.told.pods | {f"{call.namespace}/{call.pod}" for call in seen.calls if call.pod}


def resource(seen: snapshot.Survey, text: str) -> str:
    """Return a resource with its prefix. One that is unknown keeps its name: why it is unknown may be the question."""
    known = {pool.resource for pool in seen.dealt} | set(seen.told.allocatable)
    if "/" in text:
        return text
    return _only("resource", text, [each for each in known if each.partition("/")[2] == text]) or text


def pool(seen: snapshot.Survey, text: str) -> str:
    """Return the resource of a pool of the configuration. Raises click.UsageError, which lists them."""
    found, there = resource(seen, text), [pool.resource for pool in seen.dealt]
    if found not in there:
        why = seen.config_trouble or f"the configuration has {layout.some(there, 8) or 'no pool'}"
        raise click.UsageError(f"there is no pool {text!r}: {why}")
    return found


def _names(one: node_devices.Candidate) -> tuple[str, ...]:
    above = [] if one.pf is None else [one.pf, *([one.pf_netdev] if one.pf_netdev else [])]
    return (one.id, *one.netdevs, *(f"{each}#{one.index}" for each in above))


def _only(kind: str, text: str, found: Collection[str]) -> str | None:
    """Return the only thing that was found; None for none. Raises click.UsageError if there are several."""
    if len(found) > 1:
        raise click.UsageError(f"{text!r} may be {' or '.join(sorted(found))}: write which {kind} is meant in full")
    return next(iter(found), None)
