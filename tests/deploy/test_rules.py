"""The rules hold for what is shipped, and each of them is broken by what it forbids."""

import copy
from collections.abc import Callable

import pytest

from tests.deploy import rendering, rules, test_rendering
from tests.deploy.rendering import Object


def changed(path: str, value: object) -> Callable[[Object], None]:
    """Set what is at `path` in the pod's spec: a key, or by name the one of a list that has it. None removes it."""

    def change(daemonset: Object) -> None:
        *way, last = path.split(".")
        place: Object = daemonset["spec"]["template"]["spec"]
        for step in way:
            place = place[step] if isinstance(place, dict) else next(each for each in place if each["name"] == step)
        if value is None:
            del place[last]
        else:
            place[last] = value

    return change


def added_volume(daemonset: Object) -> None:
    daemonset["spec"]["template"]["spec"]["volumes"].append(
        {"name": "host", "hostPath": {"path": "/", "type": "Directory"}}
    )


def mounted_by_the_wrong_one(daemonset: Object) -> None:
    rendering.containers(daemonset)["device-plugin"]["volumeMounts"].append({"name": "cni-bin", "mountPath": "/x"})


def surging(daemonset: Object) -> None:
    daemonset["spec"]["updateStrategy"]["rollingUpdate"] = {"maxSurge": 1, "maxUnavailable": 0}


CNI, PLUGIN, SHIM = "containers.cni-daemon", "containers.device-plugin", "initContainers.install-shim"

BROKEN: list[tuple[Callable[[Object], None], str]] = [
    (changed("restartPolicy", "OnFailure"), "a container that has ended stays so"),
    (changed("hostPID", True), "hostPID is set"),
    (changed("hostIPC", True), "hostIPC is set"),
    (changed("shareProcessNamespace", True), "shareProcessNamespace is set"),
    (changed("hostNetwork", None), "hostNetwork is not set: the VFs are in the host's network namespace"),
    (changed(f"{CNI}.securityContext.privileged", True), "cni-daemon is privileged"),
    (changed(f"{CNI}.securityContext.allowPrivilegeEscalation", None), "cni-daemon may get more privileges"),
    (changed(f"{SHIM}.securityContext.readOnlyRootFilesystem", False), "install-shim can write its root file system"),
    (changed(f"{CNI}.securityContext.procMount", "Unmasked"), "cni-daemon has an unmasked /proc"),
    (
        changed(f"{PLUGIN}.securityContext.capabilities", {}),
        "device-plugin keeps the runtime's own choice of capabilities",
    ),
    (
        changed(f"{PLUGIN}.securityContext.capabilities.add", ["NET_ADMIN"]),
        "device-plugin adds ['NET_ADMIN']",
    ),
    (
        changed(f"{CNI}.securityContext.capabilities.add", ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_NET_RAW"]),
        "cni-daemon adds ['CAP_NET_ADMIN', 'CAP_SYS_ADMIN', 'CAP_NET_RAW']",
    ),
    (
        changed("securityContext.seccompProfile", {"type": "Unconfined"}),
        "the pod has no seccomp profile RuntimeDefault",
    ),
    (
        changed(f"{CNI}.securityContext.seccompProfile", {"type": "Unconfined"}),
        "cni-daemon has a seccomp profile of its own",
    ),
    (
        changed(f"{CNI}.securityContext.appArmorProfile", {"type": "Unconfined"}),
        "cni-daemon asks for an AppArmor profile",
    ),
    (added_volume, "host is the node's /"),
    (changed("volumes.run.hostPath", {"path": "/run", "type": "Directory"}), "run is the node's /run"),
    (changed("volumes.run.hostPath.type", None), "run does not say what it is on the node"),
    (mounted_by_the_wrong_one, "device-plugin mounts cni-bin, readOnly False"),
    (changed(f"{PLUGIN}.volumeMounts.run.readOnly", False), "device-plugin mounts run, readOnly False"),
    (
        changed(f"{CNI}.volumeMounts.run.mountPropagation", "Bidirectional"),
        "cni-daemon mounts run with mountPropagation Bidirectional",
    ),
    (
        changed(f"{CNI}.volumeMounts.netns.mountPropagation", None),
        "cni-daemon mounts netns with mountPropagation None",
    ),
    (changed(f"{CNI}.volumeMounts.netns.readOnly", None), "cni-daemon mounts netns, readOnly False"),
    (changed(f"{PLUGIN}.volumeMounts.config.subPath", "config.json"), "device-plugin mounts config with subPath"),
    (added_volume, "nobody mounts host"),
    (changed("automountServiceAccountToken", True), "a token for the API server is mounted"),
    (changed("serviceAccountName", None), "the service account is everybody's"),
    (
        changed(f"{SHIM}.image", "registry:5000/sriov-underlay"),
        "install-shim has the image registry:5000/sriov-underlay, which may be another one tomorrow",
    ),
    (
        changed(f"{PLUGIN}.image", "sriov-underlay@sha256:01"),
        "device-plugin has the image sriov-underlay@sha256:01, which may be another one tomorrow",
    ),
    (
        changed(f"{CNI}.image", "sriov-underlay:latest"),
        "cni-daemon has the image sriov-underlay:latest, which may be another one tomorrow",
    ),
    (
        changed(f"{CNI}.livenessProbe", None),
        "the livenessProbe of cni-daemon asks [], it listens on ['127.0.0.1:9558']",
    ),
    (
        changed(f"{PLUGIN}.readinessProbe.httpGet.port", 1),
        "the readinessProbe of device-plugin asks ['127.0.0.1:1'], it listens on ['127.0.0.1:9557']",
    ),
    (changed(f"{PLUGIN}.args", ["--http=0.0.0.0:9557"]), "device-plugin listens on the node's network"),
    (changed(f"{PLUGIN}.ports", [{"containerPort": 9557}]), "device-plugin listens on the node's network"),
    (changed("priorityClassName", None), "the pod can be evicted"),
    (changed(f"{CNI}.resources.requests", {}), "cni-daemon requests no cpu or memory"),
    (changed(f"{CNI}.resources.limits.cpu", "1"), "cni-daemon is throttled: pods wait for it"),
    (surging, "two pods may run on a node"),
    (changed("terminationGracePeriodSeconds", 5), "calls under way are not given the time to end"),
]


PROXY = "containers.cni-daemon-metrics"
FLAGS = ["--upstream=http://127.0.0.1:9558/", "--allow-paths=/metrics"]
INSECURE = {
    "insecure-listen-address": "0.0.0.0:9558",
    "upstream": "http://127.0.0.1:9558/",
    "allow-paths": "/metrics",
}

AGENT = "containers.agent"
BROKEN_PROXY: list[tuple[Callable[[Object], None], str]] = [
    (changed(f"{AGENT}.securityContext.runAsUser", 0), "the agent is not user 64731"),
    (changed(f"{CNI}.securityContext.runAsUser", 64731), "cni-daemon may pass for the agent"),
    (changed(f"{AGENT}.securityContext.capabilities.add", ["NET_RAW"]), "agent adds ['NET_RAW']"),
    (changed(f"{CNI}.volumeMounts.podinfo.name", "agent-access"), "cni-daemon has a token for the API server"),
    (changed(f"{AGENT}.volumeMounts.cluster.name", "run"), "agent mounts run, readOnly True"),
    (changed("volumes.pins.hostPath.path", "/sys/fs/bpf"), "pins is the node's /sys/fs/bpf"),
    (changed(f"{CNI}.volumeMounts.cgroup.readOnly", None), "cni-daemon mounts cgroup, readOnly False"),
    (
        changed(f"{PROXY}.args", ["--insecure-listen-address=0.0.0.0:9558", *FLAGS]),
        f"cni-daemon-metrics has the flags {INSECURE}",
    ),
    (
        changed(f"{PROXY}.ports", [{"name": "cni-daemon", "containerPort": 1}]),
        "cni-daemon-metrics has the ports [{'name': 'cni-daemon', 'containerPort': 1}]",
    ),
    (changed(f"{PROXY}.securityContext.runAsNonRoot", None), "cni-daemon-metrics is root"),
    (changed(f"{PROXY}.securityContext.runAsUser", 0), "cni-daemon-metrics is root"),
    (
        changed(f"{PROXY}.securityContext.capabilities.add", ["NET_ADMIN"]),
        "cni-daemon-metrics adds ['NET_ADMIN']",
    ),
    (
        changed(f"{CNI}.volumeMounts.podinfo.name", "api-access"),
        "cni-daemon has a token for the API server",
    ),
    (changed(f"{CNI}.ports", [{"containerPort": 9558}]), "cni-daemon listens on the node's network"),
]


@pytest.fixture(scope="module")
def sound() -> Object:
    return rendering.only(rendering.chart(), "DaemonSet")


@pytest.fixture(scope="module")
def proxied() -> Object:
    return rendering.only(rendering.chart(test_rendering.VARIANTS["services, and metrics"]), "DaemonSet")


def test_what_is_shipped_keeps_every_rule(sound: Object) -> None:
    assert rules.problems([sound]) == []


@pytest.mark.parametrize(("breaking", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_what_is_forbidden_is_told(sound: Object, breaking: Callable[[Object], None], told: str) -> None:
    broken = copy.deepcopy(sound)
    breaking(broken)
    assert told in rules.problems([broken])


@pytest.mark.parametrize(("breaking", "told"), BROKEN_PROXY, ids=[told for _, told in BROKEN_PROXY])
def test_what_is_forbidden_of_a_proxy_is_told(proxied: Object, breaking: Callable[[Object], None], told: str) -> None:
    broken = copy.deepcopy(proxied)
    breaking(broken)
    assert told in rules.problems([broken])


def test_no_rule_is_without_a_manifest_that_breaks_it(sound: Object, proxied: Object) -> None:
    silent = set(rules.RULES)
    for whole, breaking in [*((sound, each) for each, _ in BROKEN), *((proxied, each) for each, _ in BROKEN_PROXY)]:
        broken = copy.deepcopy(whole)
        breaking(broken)
        silent -= {rule for rule in rules.RULES if any(rule(broken))}
    assert silent == set()
