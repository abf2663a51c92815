"""Defaults of the node for network policies: what of them this pod can have.

One that is only a default is left out if the pod cannot have it, which is logged. One that the node's policy demands
stays, and what the pod cannot have refuses it: an operator who demands it must not find pods without.
"""

import msgspec

from sriov import devices
from sriov_cni.commands.membership import policy_requests
from sriov_cni.context.calls import Call, Daemon, log
from sriov_cni.spec import cni_errors, netconf, policy_modes
from sriov_cni.spec.policy_modes import PolicyWish


def possible(
    daemon: Daemon, call: Call, network: netconf.Network, vf: devices.VF, *, named: PolicyWish, wish: PolicyWish
) -> PolicyWish:
    """Return `wish`, which is what the network has named over the defaults, without defaults that cannot be.

    Raises CniError for one that cannot be and is demanded.
    """
    if named.mode is None and (why_not := _why_not(daemon, call, vf, wish)) and not policy_requests.demands(daemon, vf):
        log.warning(
            'network %s: the node\'s default, policy "%s", is left out, so that no network policy holds: %s',
            network.name, wish.mode, why_not,
        )  # fmt: skip
        return PolicyWish(policy_modes.PolicyMode.OFF)
    demands_raw = daemon.guard is not None and daemon.guard.demands_policy_raw(vf)
    if named.raw is None and wish.raw and policy_modes.drops(network.ipam) and not demands_raw:
        log.warning(
            "network %s: the node's default, policyRaw, is left out, so that policies do not hold for packet sockets:"
            " the IPAM plugin %s has one in the pod",
            network.name, network.ipam,
        )  # fmt: skip
        return msgspec.structs.replace(wish, raw=False)
    policy_modes.refuse_dhcp(wish, network.ipam)
    return wish


def _why_not(daemon: Daemon, call: Call, vf: devices.VF, wish: PolicyWish) -> str:
    if vf.userspace:
        return policy_requests.unseen(vf)
    policy_requests.check_name(call, wish)
    try:
        policy_requests.check(daemon, call, vf, wish)
    except cni_errors.CniError as error:
        return error.message
    return ""
