"""Claims that a second pod shares: it is refused, since a VF can be in one pod only.

No grant tells of such a pod, so the kubelet is asked; but only where the pod's namespace has a prepared claim that it
could name. One that was made from a template is its own pod's: the claim hook fails another that names it all the same.
"""

from sriov import errors
from sriov_cni.commands.claimed import known_claims
from sriov_cni.context.calls import Daemon
from sriov_cni.spec import environment


async def refuse(daemon: Daemon, args: environment.Arguments) -> None:
    """Raises BusyError if the pod uses a claim that is granted to another one, or if that cannot be known."""
    others = known_claims.of(daemon).of_others(args)
    if not others:
        return
    # grpc takes a tenth of a second and 20 MB: only nodes with such claims pay that.
    from sriov.kubelet import podresources  # noqa: PLC0415

    try:
        used = await podresources.claims_of(daemon.pod_resources, args.namespace, args.pod)
    except errors.BusyError as error:
        error.remedy += " --pod-resources-socket says where it listens"
        raise
    for each in others:
        if each.name in used:
            whose = ", ".join(pod.name for pod in each.pods)
            raise errors.BusyError(
                f"pod {args.namespace}/{args.pod} shares {each} with pod {whose}, and a VF can be in one pod only",
                "give each pod a claim of its own, by a ResourceClaimTemplate",
            )
