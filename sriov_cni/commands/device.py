"""Choice of a call's VF: the one that its configuration names, or one that the kubelet gave to its pod."""

from sriov import devices, errors
from sriov.daemon import logs
from sriov_cni.context.calls import Call, Daemon
from sriov_cni.spec import cni_errors, environment, vf_request
from sriov_cni.spec.cni_errors import Code


async def choose(daemon: Daemon, call: Call, wanted: vf_request.VfRequest) -> devices.PciAddress:
    """Return the VF's PCI address. Raises CniError with code 7 or 11 if the kubelet has none for this pod."""
    pci = await _chosen(daemon, call, wanted)
    logs.about(vf=pci)
    return pci


async def _chosen(daemon: Daemon, call: Call, wanted: vf_request.VfRequest) -> devices.PciAddress:
    if wanted.pci is not None:
        return wanted.pci
    # grpc takes a tenth of a second and 20 MB: only nodes without Multus pay that.
    from sriov.kubelet import podresources  # noqa: PLC0415

    args = _needs_pod(call)
    try:
        held = await podresources.devices_of(daemon.pod_resources, args.namespace, args.pod, wanted.resource)
    except errors.BusyError as error:
        error.remedy += " --pod-resources-socket says where it listens"
        raise
    if not held:
        raise errors.BusyError(
            f"the kubelet gave pod {args.namespace}/{args.pod} no device of {wanted.resource}",
            f"let a container of the pod request {wanted.resource}",
        )
    free = [pci for pci in held if not _is_ours_already(daemon, call, pci)]
    if not free:
        raise cni_errors.CniError(
            Code.INVALID_CONFIG,
            f"all {len(held)} devices of {wanted.resource} of pod {args.namespace}/{args.pod} are attached already",
            "request as many devices as the pod has interfaces on this resource",
        )
    return free[0]


def _is_ours_already(daemon: Daemon, call: Call, pci: devices.PciAddress) -> bool:
    """Report whether another interface of this pod has it. A former pod's record does not count: ADD ends it."""
    record = daemon.book.read(pci)
    if record is None or record.owner.container_id != call.invocation.container_id:
        return False
    return record.owner.ifname != call.invocation.ifname


def _needs_pod(call: Call) -> environment.Arguments:
    """CNI_ARGS, which name the call's pod. Raises CniError with code 7 if they do not."""
    args = call.invocation.args
    if not args.namespace or not args.pod:
        raise cni_errors.CniError(
            Code.INVALID_CONFIG,
            "VF pci addr is required: no deviceID, and CNI_ARGS names no pod to ask the kubelet about",
            "write `deviceID`, or let a Kubernetes runtime pass K8S_POD_NAMESPACE and K8S_POD_NAME",
        )
    return args
