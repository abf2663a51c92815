"""Kubelet's report of pods and devices, asked for once; if there is no answer, that is reported too."""

import pathlib
from collections.abc import Mapping

import msgspec

from sriov import errors


class Holder(msgspec.Struct, frozen=True):
    """Container of a pod that was given a device of a resource."""

    namespace: str
    pod: str
    container: str
    resource: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}"


class Told(msgspec.Struct, frozen=True):
    """The kubelet's report. `holders` is by device; `pods` are all its pods, as namespace/name; `allocatable` are the
    healthy devices of each registered resource. `trouble` is why nothing is known, "" if something is."""

    holders: Mapping[str, Holder] = msgspec.field(default_factory=dict)
    pods: frozenset[str] = frozenset()
    allocatable: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    trouble: str = ""

    def held_by(self, pod: str) -> dict[str, Holder]:
        """Return the devices of a pod, named as namespace/name."""
        return {device: holder for device, holder in self.holders.items() if str(holder) == pod}


def ask(socket: pathlib.Path) -> Told:
    """Ask. Never raises: the caller goes on with what else there is, and reports what could not be seen."""
    if not socket.exists():
        return Told(
            trouble=f"there is no {socket}: no kubelet runs here, or --kubelet-root-dir names another directory"
        )

    import asyncio  # noqa: PLC0415 (a fifth of the start of a command that does not ask)

    async def both() -> Told:
        from sriov.kubelet import (  # noqa: PLC0415 (grpc takes a tenth of a second, and wants a running loop)
            podresources,
        )

        pods, known = await asyncio.gather(podresources.pods(socket), podresources.allocatable(socket))
        holders = {
            device: Holder(pod.namespace, pod.name, given.container, given.resource)
            for pod in pods
            for given in pod.given
            for device in given.ids
        }
        return Told(holders, frozenset(map(str, pods)), known)

    try:
        return asyncio.run(both())
    except errors.SriovError as error:
        return Told(trouble=error.message)
