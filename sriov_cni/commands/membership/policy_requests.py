"""Network policies of an ADD: what holds for the pod is found out first, and is in force before the VF comes."""

import functools

from sriov import devices, errors, timing
from sriov.attachment import attach, plans
from sriov.cluster import pod_policies
from sriov.linux import kernel
from sriov.state import ledger
from sriov_cni.context import steps
from sriov_cni.context.calls import Call, Daemon, PolicySource
from sriov_cni.dataplane.policies import policy_holdings
from sriov_cni.spec import cni_errors, environment, netconf, policy_modes
from sriov_cni.spec.cni_errors import Code
from sriov_cni.spec.policy_modes import PolicyMode, PolicyWish, UnknownPolicy

PATIENCE = 2.0  # seconds for a pod that the agent has not sent yet: the scheduler has bound it just now


def check(daemon: Daemon, call: Call, vf: devices.VF, wish: PolicyWish) -> None:
    """Raise CniError if this node cannot hold the pod to policies, or not surely where the node's policy demands it."""
    _source(daemon, wish)
    if wish.mode is PolicyMode.MULTI and call.invocation.within:
        raise netconf.invalid(
            'policy "multi" with claims: which networks a pod is in is known of Multus\' alone',
            'write policy "kubernetes", or have Multus attach the VF',
        )
    if vf.userspace and demands(daemon, vf):
        raise cni_errors.CniError(
            Code.INVALID_CONFIG,
            f"the node's policy demands network policies, and {unseen(vf)}",
            "use a VF with its kernel driver, or ask the node's administrator",
        )
    who = call.invocation.args
    if not (who.namespace and who.pod):
        raise cni_errors.CniError(
            Code.INVALID_ENVIRONMENT,
            f"{_named(wish)} needs the pod's name, and CNI_ARGS has no K8S_POD_NAMESPACE and K8S_POD_NAME",
            "a runtime of Kubernetes passes them; leave policy out for others",
        )
    check_name(call, wish)


def check_name(call: Call, wish: PolicyWish) -> None:
    """Raise CniError for an interface's name that rules cannot have: who chooses it must not choose to be free."""
    ifname = call.invocation.ifname
    if not policy_modes.INTERFACE.fullmatch(ifname):
        raise cni_errors.CniError(
            Code.INVALID_ENVIRONMENT,
            f"{_named(wish)}: CNI_IFNAME {ifname!r} must hold only letters, digits, '_', '.', '-'",
            'name the interface as in "net1"',
        )


async def planned(daemon: Daemon, call: Call, network: str, vf: devices.VF, wish: PolicyWish) -> ledger.PolicyHold:
    """Return what will hold. Raises CniError with code 11 for a pod that is not known, UnsupportedError if a policy
    selects a pod whose packets the kernel does not see."""
    source, who = _source(daemon, wish), call.invocation.args
    name = network if wish.mode is PolicyMode.MULTI else pod_policies.CLUSTER
    found = source.rules_of(who.namespace, who.pod, name, who.uid)
    if found is None and not source.unwatched(name):
        found = await source.wait_for(who.namespace, who.pod, name, PATIENCE, who.uid)
    unknown = wish.unknown or UnknownPolicy.REFUSE
    if found is None and unknown is UnknownPolicy.REFUSE:
        raise _not_known(source, name, who, wish)
    if vf.userspace and (found or policy_holdings.unless_known(unknown)).selected:
        raise errors.UnsupportedError(
            f"{_named(wish)}: a policy selects pod {who.namespace}/{who.pod}, and {unseen(vf)}",
            "use a VF with its kernel driver, or policies that do not select the pod",
        )
    index = daemon.node.tree.ifindex(vf.pci) or 0
    return ledger.PolicyHold(name, index, bool(wish.raw), unknown.value)


def _not_known(source: PolicySource, network: str, who: environment.Arguments, wish: PolicyWish) -> cni_errors.CniError:
    if kind := source.unwatched(network):
        return cni_errors.CniError(
            Code.TRY_AGAIN,
            f"{_named(wish)}: no {kind} is known on this node: its sriov-agent does not watch them",
            f"start sriov-agent with --policies all (the chart's policies.multi), and have the API server serve {kind};"
            " or set policyUnknown",
        )
    text = f"{_named(wish)}: the policies of pod {who.namespace}/{who.pod} are not known on this node"
    if source.rules_of(who.namespace, who.pod, network) is not None:
        text = f"{text}, only those of another pod of its name: the UID of this one is {who.uid}"
    remedy = "the kubelet tries again; if it stays so, look at sriov-agent's log, or set policyUnknown"
    return cni_errors.CniError(Code.TRY_AGAIN, text, remedy)


def demands(daemon: Daemon, vf: devices.VF) -> bool:
    """Report whether the node's policy demands network policies for a pod with this VF."""
    return daemon.guard is not None and daemon.guard.demands_policy(vf)


def unseen(vf: devices.VF) -> str:
    return f"the kernel sees no packet of VF {vf.pci}, which has the userspace driver {vf.driver}"


def _named(wish: PolicyWish) -> str:
    return f"policy {wish.mode.value!r}" if wish.mode else "policy"


def guard(
    daemon: Daemon, request: plans.Request, where: tuple[int, int], hold: ledger.PolicyHold
) -> attach.Precautions | None:
    """Return what puts it in force in the pod, before the VF is there. Its calls raise KernelError."""
    source, enforcement = daemon.policies, daemon.enforcement
    if source is None or enforcement is None:
        return None
    policed = policy_holdings.of(request.owner, hold, request.host_link, where)

    def before(inner: kernel.Kernel, recorded: ledger.PolicyHold) -> None:
        policed = policy_holdings.of(request.owner, recorded, request.host_link, where)
        with timing.timed(steps.CallStep.POLICY):
            policy = source.rules_of(*policed.asked) or policy_holdings.unless_known(UnknownPolicy(hold.unknown))
            enforcement.hold(inner, policed, policy)

    def arrived(device: str, inner: kernel.Kernel) -> None:
        if hold.raw and device in policed.scope.devices:
            enforcement.arrived(inner, policed.key, device)

    link = request.host_link.inside if request.host_link else ""
    return attach.Precautions(
        before, functools.partial(arrived, policed.scope.interface), functools.partial(arrived, link)
    )


def _source(daemon: Daemon, wish: PolicyWish) -> PolicySource:
    if daemon.policies is None or daemon.enforcement is None:
        raise netconf.invalid(
            f"{_named(wish)}: the daemon of this node does not know the cluster's policies",
            "start it with --policy-socket, and sriov-agent with --policies; or leave the key out",
        )
    return daemon.policies
