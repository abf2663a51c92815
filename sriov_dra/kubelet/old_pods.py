"""Pods that were given devices by the device plugin, as the kubelet knows them.

The kubelet's checkpoint names every device that it has ever given and not given again; so a device that is not in it is
in no such pod, and the kubelet is asked only about one that is: while old pods run, or their entries are still there.
"""

import pathlib
from collections.abc import Mapping

import msgspec

from sriov.kubelet import checkpoint


class KubeletPods(msgspec.Struct, frozen=True):
    """`file` is the checkpoint, `socket` that of PodResources."""

    file: pathlib.Path
    socket: pathlib.Path

    async def holding(self, ids: frozenset[str]) -> Mapping[str, str]:
        """Return those of the devices that a pod has, with the pod. Raises BusyError if the kubelet does not answer."""
        known = checkpoint.read(self.file) if self.file.exists() else {}
        asked = ids if known is None else ids & known.keys()
        if not asked:
            return {}
        from sriov.kubelet import podresources  # noqa: PLC0415  # most drivers never ask

        pods = await podresources.pods(self.socket)
        return {device: str(pod) for pod in pods for given in pod.given for device in given.ids if device in asked}
