"""Claims of pods (DRA): whom a VF is granted to, and what its claim wants of it.

The DRA driver has written the grant before the pod's sandbox is made, so an ADD for another pod is refused: a pod that
was given the VF in the other way, a second pod of the claim, or one whose network names the VF. A node without claims
has no folder of grants, and pays one look for it.
"""

import logging
import os
import pathlib
import time
from collections.abc import Mapping

import msgspec

from sriov import devices, errors
from sriov.state import attached_vfs, claim_attachments, grants
from sriov_cni.spec import environment, netconf, result

_log = logging.getLogger(__name__)

_TICK = 0.05  # seconds: a folder that has changed just now may change again without another time


class GrantedVf(msgspec.Struct, frozen=True):
    """A VF of a claim."""

    grant: grants.ClaimGrant
    device: grants.GrantedDevice


class PodClaims:
    """The grants of the run directory, read again whenever the folder has changed. For one thread.

    `calls` are those that attached all devices of a pod's claims.
    """

    def __init__(self, run_dir: pathlib.Path) -> None:
        self.calls = claim_attachments.ClaimAttachments(run_dir)
        self._folder = run_dir / "claims"
        self._grants = grants.Grants(run_dir)
        self._notes = attached_vfs.AttachedVfs(run_dir)
        self._stamp: tuple[int, int] | None = None
        self._known: Mapping[str, GrantedVf] = {}

    def of(self, pci: devices.PciAddress, invocation: environment.Invocation) -> GrantedVf | None:
        """Return the VF's claim, None if it has none. Raises BusyError if that is another pod's, LedgerError."""
        found = self._by_device().get(pci)
        if found is None or _is_for(found.grant, invocation.args):
            return None if found is None else _named_right(found, invocation)
        pods = ", ".join(f"{found.grant.namespace}/{pod.name}" for pod in found.grant.pods)
        asked = (
            f"{invocation.args.namespace}/{invocation.args.pod}" if invocation.args.pod else "this call, without a pod"
        )
        raise errors.BusyError(
            f"VF {pci} is granted to {found.grant} of pod {pods}, and not to {asked}",
            "give the pod a claim of its own; the VF is free once the kubelet has unprepared that one",
        )

    def of_pod(self, args: environment.Arguments) -> list[GrantedVf]:
        """Return all VFs of the pod's claims that are to be attached, by the claims' names, each in its claim's order.

        Raises CniError with code 7 if the call names no pod: it might be one that has a claim. LedgerError.
        """
        if not (args.namespace and args.pod):
            raise netconf.invalid(
                "CNI_ARGS names no pod, so that its claims cannot be known",
                "let a Kubernetes runtime pass K8S_POD_NAMESPACE, K8S_POD_NAME and K8S_POD_UID, or leave `claims` out",
            )
        found = [each for each in self._by_device().values() if each.device.is_ours and _is_for(each.grant, args)]
        return sorted(found, key=lambda each: (each.grant.name, each.grant.uid))

    def note(
        self,
        granted: GrantedVf,
        invocation: environment.Invocation,
        interface: result.Interface,
        leased: result.Result,
    ) -> None:
        """Note what the pod has now, for the claim's status. A note that cannot be written is no failure of the ADD."""
        pci = devices.PciAddress(granted.device.id)
        attached = attached_vfs.AttachedVf(
            pci=pci,
            claim=granted.grant.uid,
            container_id=invocation.container_id,
            ifname=invocation.ifname,
            mac=interface.mac,
            addresses=tuple(each.address for each in leased.ips),
            within=invocation.within,
        )
        try:
            self._notes.write(attached)
        except errors.LedgerError as error:
            _log.warning("the status of %s will not have VF %s: %s", granted.grant, pci, error)

    def of_others(self, args: environment.Arguments) -> list[grants.ClaimGrant]:
        """Return the claims of other pods that this one may name, too: those of its namespace without a template.

        The kubelet has a claim prepared for its first pod alone, so that no grant tells of a second.
        """
        every = {each.grant.uid: each.grant for each in self._by_device().values()}.values()
        return [
            each for each in every if not (each.of_one_pod or _is_for(each, args)) and each.namespace == args.namespace
        ]

    def _by_device(self) -> Mapping[str, GrantedVf]:
        try:
            seen = os.stat(self._folder)  # noqa: PTH116  # on every ADD's way
        except FileNotFoundError:
            return {}
        stamp = (seen.st_ino, seen.st_mtime_ns)
        if stamp != self._stamp:
            known = {each.id: GrantedVf(grant, each) for grant in self._grants.all() for each in grant.devices}
            settled = time.time() - seen.st_mtime > _TICK
            self._known, self._stamp = known, stamp if settled else None
        return self._known


def _is_for(grant: grants.ClaimGrant, args: environment.Arguments) -> bool:
    """By the pod's UID if the runtime passes it: a pod that is made again has the same name."""
    if args.uid:
        return any(pod.uid == args.uid for pod in grant.pods)
    return args.namespace == grant.namespace and any(pod.name == args.pod for pod in grant.pods)


def _named_right(found: GrantedVf, invocation: environment.Invocation) -> GrantedVf:
    wanted = found.device.interface
    if wanted and wanted != invocation.ifname:
        raise netconf.invalid(
            f"{found.grant} names the interface {wanted!r}, and the call {invocation.ifname!r}",
            "give both the same name, or leave `interface` of the VfNetwork out",
        )
    return found


def merged(document: netconf.Document, granted: GrantedVf) -> netconf.Document:
    """Return the configuration with what the claim wants; keys of the configuration itself win."""
    wanted = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in granted.device.network.items()}
    return msgspec.structs.replace(document, values={**wanted, **document.values})
