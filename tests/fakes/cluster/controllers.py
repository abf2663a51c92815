"""Controllers of the stand-in cluster: what it does by itself once objects exist, if a test waits for it.

A DaemonSet gets a pod on each node that its node selector and affinity allow, a new one for each generation, on all
nodes at once. Any other pod gets the first node that its node selector allows and that has the resources in its limits,
taken or not. A pod with a node is started there and is ready. A Job's command, and that of a pod that is not restarted,
is run and decides how it ends.
"""

import contextlib
import threading
from collections.abc import Collection, Iterator

from tests.fakes.cluster import kinds, patches, placement
from tests.fakes.cluster.kinds import Object
from tests.fakes.cluster.kubelets import Kubelets
from tests.fakes.cluster.objects import Objects


@contextlib.contextmanager
def running(objects: Objects, kubelets: Kubelets) -> Iterator[None]:
    """Run until `objects` are closed, which this does at the end. Every pod that was started is stopped."""
    controllers = Controllers(objects, kubelets)
    thread = threading.Thread(target=controllers.follow)
    thread.start()
    try:
        yield
    finally:
        objects.close()
        thread.join()
        controllers.stop()


class Controllers:
    """Looks at all objects after each change. It takes one step at a time, and each step is a change itself."""

    def __init__(self, objects: Objects, kubelets: Kubelets) -> None:
        self._objects, self._kubelets = objects, kubelets
        self._running: dict[str, Object] = {}
        self._commands: dict[str, threading.Thread] = {}

    def follow(self) -> None:
        for _ in self._objects.changes(0):
            self._stop_gone()
            for daemonset in self._objects.listed(kinds.DAEMONSET):
                self._roll_out(daemonset)
            self._stop_gone()
            for pod in self._objects.listed(kinds.POD):
                with contextlib.suppress(kinds.RefusedError):  # it is just being deleted
                    self._go_on(pod)
            for job in self._objects.listed(kinds.JOB):
                self._run(kinds.JOB, job, job["spec"]["template"]["spec"])
            for daemonset in self._objects.listed(kinds.DAEMONSET):
                with contextlib.suppress(kinds.RefusedError):
                    self._count(daemonset)

    def stop(self) -> None:
        """Stop all pods, once commands have ended."""
        for thread in self._commands.values():
            thread.join()
        self._stop_others(())

    def _stop_others(self, there: Collection[str]) -> None:
        """Stop pods that are not there any more, the youngest first."""
        for uid in [each for each in reversed(self._running) if each not in there]:
            self._kubelets.stopped(self._running.pop(uid))

    def _stop_gone(self) -> None:
        self._stop_others({each["metadata"]["uid"] for each in self._objects.listed(kinds.POD)})

    def _roll_out(self, daemonset: Object) -> None:
        """Delete a pod of an older generation, or of a node that is not its any more; create one once it is gone."""
        pods = {each["spec"]["nodeName"]: each for each in self._pods(daemonset)}
        mine = self._nodes(daemonset)
        for node in pods.keys() - mine:
            self._delete(pods.pop(node))
        for node in mine:
            new = _pod(daemonset, node)
            if node not in pods:
                self._objects.create(kinds.POD, daemonset["metadata"]["namespace"], new)
            elif _generation(pods[node]) != _generation(new):
                self._delete(pods[node])

    def _nodes(self, daemonset: Object) -> list[str]:
        spec = daemonset["spec"]["template"]["spec"]
        return [each["metadata"]["name"] for each in self._objects.listed(kinds.NODE) if placement.fits(spec, each)]

    def _pods(self, daemonset: Object) -> list[Object]:
        pods = self._objects.listed(kinds.POD, daemonset["metadata"]["namespace"])
        return [each for each in pods if daemonset["metadata"]["uid"] in _owners(each)]

    def _delete(self, pod: Object) -> None:
        self._objects.delete(kinds.POD, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _go_on(self, pod: Object) -> None:
        """Collect, schedule or start the pod."""
        namespace, name = (pod["metadata"][key] for key in ("namespace", "name"))
        if _owners(pod) - {each["metadata"]["uid"] for each in self._objects.listed(kinds.DAEMONSET)}:
            self._delete(pod)
        elif pod["spec"].get("restartPolicy") == "Never":
            self._run(kinds.POD, pod, pod["spec"])
        elif "nodeName" not in pod["spec"]:
            fitting = [each["metadata"]["name"] for each in self._objects.listed(kinds.NODE) if _fits(pod, each)]
            if fitting:
                self._objects.patch(kinds.POD, namespace, name, patches.merging({"spec": {"nodeName": fitting[0]}}))
        elif pod["metadata"]["uid"] not in self._running:
            self._running[pod["metadata"]["uid"]] = pod
            offered = {"status": {"allocatable": self._kubelets.started(pod)}}
            self._objects.patch(kinds.NODE, "", pod["spec"]["nodeName"], patches.merging(offered))
            ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
            self._objects.patch(kinds.POD, namespace, name, patches.merging(ready))

    def _run(self, kind: kinds.Kind, found: Object, spec: Object) -> None:
        """Run the only container's command beside all else, which it may wait for. A Job gets no pod."""
        uid = found["metadata"]["uid"]
        if uid not in self._commands:
            self._commands[uid] = threading.Thread(target=self._ended, args=(kind, found, spec["containers"][0]))
            self._commands[uid].start()

    def _ended(self, kind: kinds.Kind, found: Object, container: Object) -> None:
        done = self._kubelets.run(found, container["name"], [*container["command"], *container["args"]], "")
        said, status = done.out + done.err, done.status
        condition = {"type": "Failed" if status else "Complete", "status": "True", "reason": "Ended", "message": said}
        counted = {"failed": 1} if status else {"succeeded": 1}
        ends = {"conditions": [condition], **counted}
        if kind is kinds.POD:
            ends = {"phase": "Failed" if status else "Succeeded", "message": said}
        with contextlib.suppress(kinds.RefusedError):  # somebody has deleted it
            namespace, name = (found["metadata"][key] for key in ("namespace", "name"))
            self._objects.patch(kind, namespace, name, patches.merging({"status": ends}))

    def _count(self, daemonset: Object) -> None:
        about, pods = daemonset["metadata"], self._pods(daemonset)
        ready = sum("phase" in each.get("status", {}) for each in pods)
        updated = sum(_generation(each) == about["generation"] for each in pods)
        numbers = {"currentNumberScheduled": len(pods), "desiredNumberScheduled": len(self._nodes(daemonset))}
        numbers |= {"updatedNumberScheduled": updated, "numberReady": ready, "numberAvailable": ready}
        status = {"observedGeneration": about["generation"], "numberMisscheduled": 0, **numbers}
        if daemonset.get("status") != status:
            change = patches.merging({"status": status})
            self._objects.patch(kinds.DAEMONSET, about["namespace"], about["name"], change)


def _pod(daemonset: Object, node: str) -> Object:
    about, template = daemonset["metadata"], daemonset["spec"]["template"]
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "controller": True, "name": about["name"]}
    labels = {**template["metadata"]["labels"], "pod-template-generation": str(about["generation"])}
    metadata = {
        "name": f"{about['name']}-{node}",
        "labels": labels,
        "ownerReferences": [{**owner, "uid": about["uid"]}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**template["spec"], "nodeName": node}}


def _generation(pod: Object) -> int:
    return int(pod["metadata"]["labels"]["pod-template-generation"])


def _owners(pod: Object) -> set[str]:
    return {each["uid"] for each in pod["metadata"].get("ownerReferences", [])}


def _fits(pod: Object, node: Object) -> bool:
    limits = [each.get("resources", {}).get("limits", {}) for each in pod["spec"]["containers"]]
    wanted = {name for each in limits for name in each}
    return wanted <= set(node["status"]["allocatable"]) and placement.fits(pod["spec"], node)
