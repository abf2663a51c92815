"""Network of a claim's VF: the keys of a VfNetwork, checked by the CNI plugin's own reader before anything is changed.

A VfNetwork has keys of a network configuration of the CNI plugin (docs/cni.md), and three of its own: `interface` is
the pod's name for the VF, `network` names a network of the node whose keys are used where the VfNetwork has none, and
`unattached` is the reason why the pod may start without the VF. At the ADD they count where the network configuration
of the call has none. Addresses come by the `ipam` of a network of the node alone: it names a program that root runs,
and files that it writes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sriov_cni.spec import cni_errors, environment, netconf, policy_modes, vf_request
from sriov_dra.claims import reading

_OWN = ("interface", "network", "unattached")
_REASON_MAX = 200  # characters
_DRIVERS = (
    "cniVersion",
    "name",
    "type",
    "deviceID",
    "resourceName",
    "prevResult",
    "runtimeConfig",
    "ipam",
    "dns",
    "claims",
)
"""Keys that only the network configuration of the call has."""
_NODES = ("policy", "policyUnknown", "policyRaw", "viaHost", "hostLinkAddresses")
"""Keys by which a pod is held to network policies, and by which the node routes addresses to and for it: who may write
a claim must neither take off the one nor choose the other. A network of the node may."""
_OPEN = ("off", "allow", False)
"""Values of a network's keys of policies that hold a pod to less: which network is named is the claim's to say."""
_KEYS = vf_request.KEYS - set(_DRIVERS)

_SOME_IPAM = {"type": "host-local"}  # whether the call's configuration has one is not known here

Keys = Mapping[str, Any]


class ClaimNetwork(msgspec.Struct, frozen=True):
    """`interface` is "" if the CNI call chooses the name; `configuration` are the other keys, of the CNI plugin.

    `network` is the network of the node that is named, and `ipam` that section of it, None if it has none.
    `unattached` is why the pod may start without the VF, "" if it may not.
    """

    interface: str = ""
    configuration: dict[str, Any] = msgspec.field(default_factory=dict)
    network: str = ""
    ipam: dict[str, Any] | None = None
    unattached: str = ""


NONE = ClaimNetwork()
"""No VfNetwork: the CNI call brings its own configuration, as that of Multus."""


def read(request: str, given: Keys, pci: str, named: Callable[[str], Keys]) -> ClaimNetwork:
    """Check the keys for a VF; `named` finds a network of the node.

    Raises ClaimError that names request, key, value and remedy. `named` raises LookupError if there is none.
    """
    if not given:
        return NONE
    try:
        return _read(given, pci, named)
    except cni_errors.CniError as error:
        text = f"{error.message}; {error.details}" if error.details else error.message
        raise reading.ClaimError(f"request {request!r}: {reading.KIND}: {text}") from error


def _read(given: Keys, pci: str, named: Callable[[str], Keys]) -> ClaimNetwork:
    _refuse_unknown(given)
    interface = _interface(given.get("interface", ""))
    unattached = _reason(given["unattached"]) if "unattached" in given else ""
    keys = {key: value for key, value in given.items() if key not in _OWN}
    network = given.get("network")
    found = _named(network, named) if network else {}
    keys = {**{key: value for key, value in found.items() if _counts(key, value)}, **keys}
    ipam = found.get("ipam")
    document = netconf.decode(msgspec.json.encode({**keys, "deviceID": pci, "ipam": ipam or _SOME_IPAM}))
    vf_request.read(document, environment.Arguments())
    return ClaimNetwork(interface, keys, network or "", ipam, unattached)


def _counts(key: str, value: Any) -> bool:
    return key in _KEYS and not (key.startswith("policy") and value in _OPEN)


def _refuse_unknown(given: Keys) -> None:
    for key in given:
        if key in _DRIVERS or key in _NODES:
            raise netconf.invalid(
                f"{key} {given[key]!r} is not the claim's to say",
                "write it in the network configuration of the CNI call",
            )
        if key not in _KEYS and key not in _OWN:
            known = ", ".join(sorted({*_KEYS, *_OWN} - {*_NODES}))
            raise netconf.invalid(f"{key} {given[key]!r}: there is no such key", f"use {known}")


def _interface(name: Any) -> str:
    problem = "must be a string" if not isinstance(name, str) else name and environment.ifname_problem(name)
    if not problem and name and not policy_modes.INTERFACE.fullmatch(name):
        problem = "must hold only letters, digits, '_', '.', '-'"
    if problem:
        raise netconf.invalid(f"interface {name!r} {problem}", "give a name as in net1, or leave it out")
    return str(name)


def _reason(text: Any) -> str:
    if not isinstance(text, str) or not text.isprintable() or not 0 < len(text.strip()) <= _REASON_MAX:
        raise netconf.invalid(
            f"unattached {text!r} is no reason",
            f"write why a pod may start without the VF, in one line of at most {_REASON_MAX} characters",
        )
    return text.strip()


def _named(network: Any, named: Callable[[str], Keys]) -> Keys:
    try:
        return named(network)
    except LookupError as error:
        raise netconf.invalid(f"network {network!r}: {error.args[0]}", "name a network of the node, or none") from error
