"""Holdings of policies: an attachment and its scope, by the ledger's record of it. Pure."""

from sriov.cluster import pod_policies
from sriov.state import ledger
from sriov_cni.spec.policy_modes import UnknownPolicy


def of(
    owner: ledger.Owner,
    hold: ledger.PolicyHold,
    link: ledger.HostLink | None,
    where: tuple[int, int],
    driver: str = "",
) -> pod_policies.PolicedPod:
    """Return what the daemon enforces for an attachment. The host link is the cluster's own network's.

    `driver` is a userspace driver of the VF, "" for none.
    """
    scope = pod_policies.Scope(owner.ifname, hold.index, raw=hold.raw)
    if link is not None and hold.network == pod_policies.CLUSTER:
        scope = pod_policies.Scope(owner.ifname, hold.index, link.inside, link.nodes, hold.raw)
    place = (owner.namespace, owner.pod, hold.network)
    return pod_policies.PolicedPod(place, scope, owner.netns, where, driver, owner.uid)


def unless_known(then: UnknownPolicy) -> pod_policies.PodPolicy:
    """Return what holds for a pod that is not known."""
    return pod_policies.EVERYTHING if then is UnknownPolicy.ALLOW else pod_policies.NOTHING
