"""Preparing of claims: one GET, checks, a grant, the files; and unpreparing, which needs no API server.

Everything after the GET happens in one turn of the event loop, so that no two claims are given one device. The grant
is written before anything else and removed after everything else: a process that dies in between leaves a claim that
is prepared or unprepared again, and no device that two could have.
"""

import logging
import pathlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from sriov import devices, errors
from sriov.hardware import node_devices
from sriov.state import grants, ledger
from sriov_dra import snapshot
from sriov_dra.claims import checks, claim_files, claim_objects, edits, networks, proof, reading

_log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds in which a VF comes home: the CNI's DEL has ended before the kubelet unprepares


class ClaimReference(msgspec.Struct, frozen=True):
    """A claim as the kubelet names it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class PreparedAnswer(msgspec.Struct, frozen=True):
    """A device as the kubelet is told of it. The first of each request has the request's CDI name."""

    request: str
    pool: str
    device: str
    cdi: tuple[str, ...] = ()
    share: str | None = None


class ClaimSource(Protocol):
    def claim(self, namespace: str, name: str) -> Awaitable[claim_objects.ClaimObject]: ...


class OldPods(Protocol):
    """Pods that were given devices by the device plugin."""

    def holding(self, ids: frozenset[str]) -> Awaitable[Mapping[str, str]]:
        """Return those of the devices that a pod has, with the pod. Raises BusyError if that cannot be known."""


class Surroundings(msgspec.Struct, frozen=True):
    """What preparing stands on. `grants` are the driver's, the `ledger` is only read; `taken` returns the present
    snapshot, `changed` in words in what a device is another one since then, such as a VF that is being removed, `named`
    a network of the node by its name, `hook` the claim hook's place on the host; it may raise SriovError. `patience` is
    in seconds."""

    files: claim_files.ClaimFiles
    grants: grants.Grants
    ledger: ledger.Ledger
    source: ClaimSource
    old_pods: OldPods
    taken: Callable[[], snapshot.NodeSnapshot]
    changed: Callable[[node_devices.Candidate], str | None]
    named: Callable[[str], networks.Keys]
    hook: Callable[[], pathlib.Path]
    patience: float = PATIENCE


class Preparer:
    """For one event loop."""

    def __init__(self, here: Surroundings) -> None:
        self._here, self._files = here, here.files
        self._waiting: dict[str, float] = {}  # since when a claim's VFs have not come home
        self.prepared = self.refused = self.unprepared = self.let_go = 0

    async def prepare(self, wanted: ClaimReference) -> tuple[PreparedAnswer, ...]:
        """Prepare a claim; one that is prepared is prepared again. Raises SriovError."""
        try:
            claim = await self._here.source.claim(wanted.namespace, wanted.name)
            _same(wanted, claim)
            given = reading.devices(claim, self._files.driver)
            await self._refuse_old_pods(wanted.uid, given)
            answers = self._prepared(claim, given)
        except errors.SriovError:
            self.refused += 1
            raise
        self.prepared += 1
        return answers

    async def _refuse_old_pods(self, uid: str, given: tuple[reading.GivenDevice, ...]) -> None:
        """Refuse what the kubelet has given to a pod by the device plugin, also before that pod's ADD."""
        own = {device.id for device in (self._grant(uid) or _NOBODY).devices}
        ids = frozenset(each.device.id for each in self._found(given)) - own
        for device, pod in (await self._here.old_pods.holding(ids)).items():
            raise reading.ClaimError(
                f"{device} is in pod {pod}, which was given it by the device plugin", "it is free once that pod is gone"
            )

    def _prepared(
        self, claim: claim_objects.ClaimObject, given: tuple[reading.GivenDevice, ...]
    ) -> tuple[PreparedAnswer, ...]:
        before = self._grant(claim.metadata.uid)
        found = self._found(given)
        self._refuse_taken(claim.metadata.uid, found)
        if before is None:
            for each in found:
                checks.refuse_changed(each.device.id, self._here.changed(each.device.facts))
        grant = self._granted(claim, before, given, found)
        hook = proof.hook(grant, found, self._here.ledger.folder, self._here.hook)
        self._here.grants.write(grant)
        try:
            self._files.write(claim.metadata, found, hook)
        except errors.SriovError:
            if before is None:
                self._here.grants.remove(grant.uid)
            raise
        self._waiting.pop(grant.uid, None)
        _log.info("prepared %s for pod %s: %s", grant, grant.pods[0].name, ", ".join(each.id for each in grant.devices))
        return _answers(self._files.driver, grant.uid, given)

    def _grant(self, uid: str) -> grants.ClaimGrant | None:
        return self._here.grants.read(uid)

    def _found(self, given: tuple[reading.GivenDevice, ...]) -> list[edits.PreparedDevice]:
        """Return the devices as the node has them now. Raises ClaimError for one that it has not."""
        now, found = self._here.taken(), []
        for each in given:
            device = now.devices.get((each.pool, each.device))
            if device is None:
                raise reading.ClaimError(now.why_not(each.pool, each.device), "let the pod be scheduled again")
            pool = now.pools[each.pool]
            found.append(edits.PreparedDevice(each.request, each.full_request, each.pool, each.device, device, pool))
        return found

    def _refuse_taken(self, uid: str, found: list[edits.PreparedDevice]) -> None:
        now, granted = self._here.taken(), self._here.grants.by_device()
        for each in found:
            record = self._here.ledger.read(devices.PciAddress(each.device.id))
            checks.refuse_taken(each.device.id, uid, granted, record, now.ailments(each.pool_name, each.device))

    def _granted(
        self,
        claim: claim_objects.ClaimObject,
        before: grants.ClaimGrant | None,
        given: tuple[reading.GivenDevice, ...],
        found: list[edits.PreparedDevice],
    ) -> grants.ClaimGrant:
        listed = tuple(self._device(one, each) for one, each in zip(given, found, strict=True))
        checks.refuse_one_name(each.interface for each in listed)
        told = claim.metadata
        pods = checks.pods(claim, before)
        own = any(each.kind == "Pod" for each in told.owners)
        return grants.ClaimGrant(
            uid=told.uid, namespace=told.namespace, name=told.name, pods=pods, devices=listed, of_one_pod=own
        )

    def _device(self, one: reading.GivenDevice, found: edits.PreparedDevice) -> grants.GrantedDevice:
        network = networks.read(one.request, one.parameters, found.device.id, self._here.named)
        return grants.GrantedDevice(
            found.device.id, one.request, one.pool, one.device, found.pool.resource, network.interface,
            network.configuration, network.network, network.ipam, network.unattached, one.share or "",
            proof.is_attachable(found),
        )  # fmt: skip

    def unprepare(self, wanted: ClaimReference) -> None:
        """Take a claim back; one that is unknown is taken back already. Raises BusyError while a VF is not home."""
        grant = self._grant(wanted.uid)
        if grant is not None:
            self._wait_for_vfs(grant)
        self._files.remove(wanted.uid)
        self._here.grants.remove(wanted.uid)
        self._waiting.pop(wanted.uid, None)
        if grant is not None:
            self.unprepared += 1
            _log.info("unprepared %s", grant)

    def _wait_for_vfs(self, grant: grants.ClaimGrant) -> None:
        """The ledger proves that a VF is home. One that does not come is tainted, and its claim is let go."""
        away = [each.id for each in grant.devices if self._here.ledger.read(devices.PciAddress(each.id)) is not None]
        if not away:
            return
        now = time.monotonic()
        if now - self._waiting.setdefault(grant.uid, now) < self._here.patience:
            raise errors.BusyError(f"{', '.join(away)} of {grant} is not home yet", "the kubelet tries again")
        self.let_go += 1
        _log.error("%s did not come home in %.0f s; letting %s go", ", ".join(away), self._here.patience, grant)


_NOBODY = grants.ClaimGrant(uid="", namespace="", name="")


def _same(wanted: ClaimReference, claim: claim_objects.ClaimObject) -> None:
    """A claim may be deleted and made again under its name."""
    if claim.metadata.uid != wanted.uid:
        raise reading.ClaimError(
            f"the claim that the kubelet means is gone: there is another of its name, {claim.metadata.uid}",
            "the kubelet tries again with that one",
        )


def _answers(driver: str, uid: str, given: tuple[reading.GivenDevice, ...]) -> tuple[PreparedAnswer, ...]:
    named: dict[str, tuple[str, ...]] = {}
    answers = []
    for each in given:
        cdi = () if each.request in named else (edits.qualified_name(driver, uid, each.request),)
        named[each.request] = cdi
        answers.append(PreparedAnswer(each.request, each.pool, each.device, cdi, each.share))
    return tuple(answers)
