"""Targets that Prometheus' discovery makes of pods: a group for each port of each container. Pure.

Debian's Prometheus is built without the discovery of Kubernetes, so it reads these from a file. Labels are those that
prometheus/discovery/kubernetes/pod.go (buildPod, podLabels) gives; a pod without an address has no targets.
"""

from collections.abc import Iterator

from tests.deploy.rendering import Object

_META = "__meta_kubernetes_"


def targets(pods: list[Object]) -> list[Object]:
    return [
        {"targets": [address], "labels": labels}
        for pod in pods
        if pod["status"].get("podIP")
        for address, labels in _of(pod)
    ]


def safe(label: str) -> str:
    """A label's name in Prometheus: what no name of its own may have is an underscore."""
    return "".join(each if each.isalnum() else "_" for each in label)


def _of(pod: Object) -> Iterator[tuple[str, dict[str, str]]]:
    spec, ip = pod["spec"], pod["status"]["podIP"]
    for number, container in enumerate([*spec["containers"], *spec.get("initContainers", [])]):
        labels = {
            **_pod(pod),
            f"{_META}pod_container_name": container["name"],
            f"{_META}pod_container_init": str(number >= len(spec["containers"])).lower(),
            f"{_META}pod_container_image": container["image"],
        }
        for port in container.get("ports", []):
            yield (
                f"{ip}:{port['containerPort']}",
                {
                    **labels,
                    f"{_META}pod_container_port_name": port.get("name", ""),
                    f"{_META}pod_container_port_number": str(port["containerPort"]),
                    f"{_META}pod_container_port_protocol": port.get("protocol", "TCP"),
                },
            )
        if not container.get("ports"):
            yield ip, labels


def _pod(pod: Object) -> dict[str, str]:
    about, status = pod["metadata"], pod["status"]
    labels = {
        f"{_META}namespace": about["namespace"],
        f"{_META}pod_name": about["name"],
        f"{_META}pod_ip": status["podIP"],
        f"{_META}pod_host_ip": status["hostIP"],
        f"{_META}pod_node_name": pod["spec"]["nodeName"],
        f"{_META}pod_phase": status["phase"],
    }
    for key, value in about.get("labels", {}).items():
        labels |= {f"{_META}pod_label_{safe(key)}": value, f"{_META}pod_labelpresent_{safe(key)}": "true"}
    return labels
