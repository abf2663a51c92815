"""Which VF a call means: the one its configuration names, or one that the kubelet gave to its pod."""

import dataclasses

from sriov import devices, errors
from sriov.daemon import logs
from sriov_cni.context.calls import Call, Daemon
from sriov_cni.spec import cni_errors, environment, netconf
from sriov_cni.spec.cni_errors import Code


@dataclasses.dataclass(frozen=True, slots=True)
class PodName:
    namespace: str
    name: str


async def choose(daemon: Daemon, call: Call, wanted: netconf.Attachment) -> devices.PciAddress:
    """The VF's PCI address. Raises CniError with code 7 or 11 where the kubelet has none for this pod."""
    pci = await _chosen(daemon, call, wanted)
    logs.about(vf=pci)
    return pci


async def _chosen(daemon: Daemon, call: Call, wanted: netconf.Attachment) -> devices.PciAddress:
    if wanted.pci is not None:
        return wanted.pci
    # grpc takes a tenth of a second and 20 MB: only nodes without Multus pay for it.
    from sriov.kubelet import podresources  # noqa: PLC0415

    pod = _pod(call)
    try:
        held = await podresources.devices_of(daemon.pod_resources, pod.namespace, pod.name, wanted.resource)
    except errors.BusyError as error:
        error.remedy += " --pod-resources-socket says where it listens"
        raise
    if not held:
        raise errors.BusyError(
            f"the kubelet gave pod {pod.namespace}/{pod.name} no device of {wanted.resource}",
            f"let a container of the pod request {wanted.resource}",
        )
    free = [pci for pci in held if not _is_ours_already(daemon, call, pci)]
    if not free:
        raise cni_errors.CniError(
            Code.INVALID_CONFIG,
            f"all {len(held)} devices of {wanted.resource} of pod {pod.namespace}/{pod.name} are attached already",
            "request as many devices as the pod has interfaces on this resource",
        )
    return free[0]


def _is_ours_already(daemon: Daemon, call: Call, pci: devices.PciAddress) -> bool:
    """Whether another interface of this pod has it. A former pod's record does not count: it is ended at ADD."""
    record = daemon.book.read(pci)
    if record is None or record.owner.container_id != call.invocation.container_id:
        return False
    return record.owner.ifname != call.invocation.ifname


def _pod(call: Call) -> PodName:
    pod = PodName(*environment.pod(call.invocation.args))
    if not pod.namespace or not pod.name:
        raise cni_errors.CniError(
            Code.INVALID_CONFIG,
            "VF pci addr is required: no deviceID, and CNI_ARGS names no pod to ask the kubelet about",
            "write `deviceID`, or let a Kubernetes runtime pass K8S_POD_NAMESPACE and K8S_POD_NAME",
        )
    return pod
