"""CHECK of all devices of a pod's claims: each as if it were a call's only one."""

from sriov_cni.commands import check as checking
from sriov_cni.commands.claimed import known_claims, parts
from sriov_cni.context.calls import Call, Daemon
from sriov_cni.spec import cni_errors, netconf
from sriov_cni.spec.claim_modes import ClaimsMode
from sriov_cni.spec.cni_errors import Code


async def check(daemon: Daemon, call: Call) -> bytes:
    """Run the CNI command CHECK."""
    network = netconf.existing(call.document)
    netconf.needs_version(network, "CHECK", "0.4.0")
    if network.prev_result is None:
        raise cni_errors.CniError(Code.INVALID_CONFIG, "CHECK without prevResult", "the runtime passes ADD's result")
    known = known_claims.of(daemon)
    whole = known.calls.read(*call.key)
    if whole is None and (call.document.claims == ClaimsMode.ALONE or known.of_pod(call.invocation.args)):
        raise cni_errors.CniError(
            Code.CHECK, "the devices of the pod's claims are not in the ledger", "recreate the pod"
        )
    for each in () if whole is None else parts.of(call, whole):
        await checking.check(daemon, each)
    return b""
