"""What the kubelet says of pods and devices, asked once and within a moment; that it says nothing is an answer too."""

import asyncio
import dataclasses
import pathlib
from collections.abc import Mapping

from sriov import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """A pod's container that was given a device of a resource."""

    namespace: str
    pod: str
    container: str
    resource: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}"


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """`holders` by device; `pods` are all that the kubelet has, by namespace/name; `allocatable` are the healthy
    devices of each resource that is registered. `trouble` is why nothing is known, "" where something is."""

    holders: Mapping[str, Holder] = dataclasses.field(default_factory=dict)
    pods: frozenset[str] = frozenset()
    allocatable: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    trouble: str = ""

    def held_by(self, pod: str) -> dict[str, Holder]:
        """The devices of a pod, named as namespace/name."""
        return {device: holder for device, holder in self.holders.items() if str(holder) == pod}


def ask(socket: pathlib.Path) -> Told:
    """Never raises: who asks goes on with what else there is, and says what could not be seen."""
    if not socket.exists():
        return Told(trouble=f"there is no {socket}: no kubelet runs here, or --kubelet names another directory")

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
