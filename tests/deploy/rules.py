"""Rules for the manifests: what they must not ask of a node, whatever the values. Pure: objects in, sentences out.

The API server's schemas allow all of it. The rules are what this project promises of its privileges (docs/install.md).
"""

import re
from collections.abc import Callable, Iterable, Iterator

from sriov.daemon import unix_sockets
from tests.deploy import rendering
from tests.deploy.rendering import Object

CAPABILITIES: dict[str, set[str]] = {
    "install-shim": set(),
    "device-plugin": set(),
    "cni-daemon": {"NET_ADMIN", "SYS_ADMIN", "NET_RAW"},
    "device-plugin-metrics": set(),
    "cni-daemon-metrics": set(),
    "agent-metrics": set(),
    "sriovctl": set(),
    "agent": set(),
    "dra-driver": set(),
}
"""Every container there is, and all that it may have. Without CAP_: the API server refuses CAP_SYS_ADMIN beside
allowPrivilegeEscalation false, and takes SYS_ADMIN (pkg/apis/core/validation, ValidateSecurityContext)."""

OPTIONAL: dict[str, set[str]] = {"install-shim": {"DAC_OVERRIDE"}}
"""What a value may add: where the runtime's folder of plugins is not root's, only this lets root write there."""

PROXIES = {f"{name}-metrics": name for name in ("device-plugin", "cni-daemon", "agent")}
"""Containers of another image, which answer the node's network in the place of this one."""

READ, WRITE = True, False

HOST_PATHS: dict[str, tuple[str, dict[str, bool]]] = {
    "cni-bin": (r"/.+/.+", {"install-shim": WRITE, "sriovctl": READ}),
    "cni-conf": (r"/.+/.+", {"sriovctl": READ, "dra-driver": READ}),
    "device-plugins": (
        r"/.+/(device-plugins|plugins_registry)",
        {"device-plugin": WRITE, "sriovctl": READ, "dra-driver": READ},
    ),
    "device-info": (r"/var/run/k8s\.cni\.cncf\.io/devinfo/dp", {"device-plugin": WRITE}),
    "cdi": (r"/var/run/cdi", {"device-plugin": WRITE, "dra-driver": WRITE}),
    "run": (r"/run/sriov", {"device-plugin": READ, "cni-daemon": WRITE, "sriovctl": READ, "dra-driver": READ}),
    "claims": (r"/run/sriov/claims", {"dra-driver": WRITE}),
    "plugin": (r"/.+/plugins/sriov-underlay", {"dra-driver": WRITE}),
    "registry": (r"/.+/plugins_registry", {"dra-driver": WRITE}),
    "sys": (r"/sys", {"dra-driver": READ}),
    "proc": (r"/proc", {"dra-driver": READ}),
    "pod-resources": (r"/.+/pod-resources", {"cni-daemon": READ, "sriovctl": READ, "dra-driver": READ}),
    "predecessor": (r"/.+/.+", {"cni-daemon": WRITE, "sriovctl": READ}),
    "net-sysctls": (r"/proc/sys/net", {"cni-daemon": WRITE}),
    "pins": (r"/sys/fs/bpf/sriov-underlay", {"cni-daemon": WRITE}),
    "cgroup": (r"/sys/fs/cgroup", {"cni-daemon": READ}),
    "cluster": (r"/run/sriov/cluster", {"agent": READ}),
    "state": (r"/var/lib/sriov-underlay", {"cni-daemon": WRITE, "sriovctl": READ}),
    "netns": (r"/run/netns", {"cni-daemon": READ, "sriovctl": READ}),
}
"""The node's folders by the volume's name: what the path has to be, who may see it, and whether only to read it."""

PROPAGATED = {"netns": "HostToContainer"}
"""A namespace that stayed mounted in a container would not end with its pod. Nothing goes the other way."""

Rule = Callable[[Object], Iterator[str]]


def problems(objects: Iterable[Object]) -> list[str]:
    """What is wrong with the DaemonSets among the objects."""
    found = [each for each in objects if each["kind"] == "DaemonSet"]
    return [problem for each in found for rule in RULES for problem in rule(each)]


def is_for_claims(daemonset: Object) -> bool:
    """Whether it is the DRA driver's, which has no other container."""
    return [each["name"] for each in _pod(daemonset)["containers"]] == ["dra-driver"]


def _the_hosts_namespaces(daemonset: Object) -> Iterator[str]:
    """The network's is needed; processes and their shared memory are nobody's business."""
    spec = _pod(daemonset)
    yield from (f"{key} is set" for key in ("hostPID", "hostIPC", "shareProcessNamespace") if spec.get(key))
    if is_for_claims(daemonset):
        if spec.get("hostNetwork"):
            yield "hostNetwork is set: the DRA driver needs nothing of it"
    elif not spec.get("hostNetwork"):
        yield "hostNetwork is not set: the VFs are in the host's network namespace"


def _privilege(daemonset: Object) -> Iterator[str]:
    for name, context in _contexts(daemonset):
        if context.get("privileged"):
            yield f"{name} is privileged"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{name} may get more privileges"
        if context.get("procMount", "Default") != "Default":
            yield f"{name} has an unmasked /proc"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{name} can write its root file system"


def _capabilities(daemonset: Object) -> Iterator[str]:
    for name, context in _contexts(daemonset):
        held = context.get("capabilities", {})
        if held.get("drop") != ["ALL"]:
            yield f"{name} keeps the runtime's own choice of capabilities"
        if set(held.get("add", [])) - OPTIONAL.get(name, set()) != CAPABILITIES.get(name):
            yield f"{name} adds {held.get('add', [])}"


def _seccomp(daemonset: Object) -> Iterator[str]:
    contexts = [("the pod", _pod(daemonset).get("securityContext", {})), *_contexts(daemonset)]
    if contexts[0][1].get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "the pod has no seccomp profile RuntimeDefault"
    yield from (f"{name} has a seccomp profile of its own" for name, each in contexts[1:] if "seccompProfile" in each)
    yield from (f"{name} asks for an AppArmor profile" for name, each in contexts if "appArmorProfile" in each)


def _the_nodes_folders(daemonset: Object) -> Iterator[str]:
    volumes = {each["name"]: each["hostPath"] for each in _pod(daemonset)["volumes"] if "hostPath" in each}
    for name, volume in volumes.items():
        if name not in HOST_PATHS or not re.fullmatch(HOST_PATHS[name][0], volume["path"]):
            yield f"{name} is the node's {volume['path']}"
        if volume.get("type") not in ("Directory", "DirectoryOrCreate"):
            yield f"{name} does not say what it is on the node"
    for container, mount in _mounts(daemonset):
        allowed = HOST_PATHS.get(mount["name"], ("", {}))[1]
        if mount["name"] in volumes and allowed.get(container) is not mount.get("readOnly", WRITE):
            yield f"{container} mounts {mount['name']}, readOnly {mount.get('readOnly', WRITE)}"


def _mounting(daemonset: Object) -> Iterator[str]:
    """A subPath never changes; a propagated mount could be made on the host; what nobody mounts is not needed."""
    for container, mount in _mounts(daemonset):
        if "subPath" in mount:
            yield f"{container} mounts {mount['name']} with subPath"
        if (propagation := mount.get("mountPropagation")) != PROPAGATED.get(mount["name"]):
            yield f"{container} mounts {mount['name']} with mountPropagation {propagation}"
    mounted = {mount["name"] for _, mount in _mounts(daemonset)}
    yield from (f"nobody mounts {each['name']}" for each in _pod(daemonset)["volumes"] if each["name"] not in mounted)


def _the_api_server(daemonset: Object) -> Iterator[str]:
    if _pod(daemonset).get("automountServiceAccountToken") is not False:
        yield "a token for the API server is mounted"
    if _pod(daemonset).get("serviceAccountName", "default") == "default":
        yield "the service account is everybody's"


def _tokens(daemonset: Object) -> Iterator[str]:
    """Only the agent, a proxy and the DRA driver ask the API server for anything, each with a volume of its own."""
    volumes = {each["name"] for each in _pod(daemonset)["volumes"] if _has_token(each)}
    for container, mount in _mounts(daemonset):
        own = {"agent-access": {"agent"}, "access": {"dra-driver"}}
        holders = own.get(mount["name"], PROXIES.keys())
        if mount["name"] in volumes and (container not in holders or mount.get("readOnly") is not True):
            yield f"{container} has a token for the API server"


def _has_token(volume: Object) -> bool:
    return any("serviceAccountToken" in each for each in volume.get("projected", {}).get("sources", []))


def _proxies(daemonset: Object) -> Iterator[str]:
    """Each encrypts, asks who comes, shows one page of one daemon, and is nobody on the node."""
    there = rendering.containers(daemonset)
    for name in PROXIES.keys() & there.keys():
        proxy = there[name]
        flags = dict(each.removeprefix("--").split("=", 1) for each in proxy["args"])
        [daemon] = [each.removeprefix("--http=") for each in there[PROXIES[name]]["args"] if each.startswith("--http=")]
        port = daemon.rpartition(":")[2]
        wanted = {
            "secure-listen-address": f"[$(POD_IP)]:{port}",
            "upstream": f"http://{daemon}/",
            "allow-paths": "/metrics",
        }
        certificate = {"tls-cert-file": "/etc/tls/tls.crt", "tls-private-key-file": "/etc/tls/tls.key"}
        if flags not in (wanted, wanted | certificate):
            yield f"{name} has the flags {flags}"
        if [(each["name"], each["containerPort"]) for each in proxy["ports"]] != [(PROXIES[name], int(port))]:
            yield f"{name} has the ports {proxy['ports']}"
        context = proxy.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{name} is root"


def _agent(daemonset: Object) -> Iterator[str]:
    """It is nobody on the node, and the one that the daemon knows it by: no other container may pass for it."""
    users = {name: context.get("runAsUser", 0) for name, context in _contexts(daemonset)}
    if users.pop("agent", unix_sockets.AGENT_UID) != unix_sockets.AGENT_UID:
        yield f"the agent is not user {unix_sockets.AGENT_UID}"
    yield from (f"{name} may pass for the agent" for name, user in users.items() if user == unix_sockets.AGENT_UID)


def _images(daemonset: Object) -> Iterator[str]:
    for name, container in rendering.containers(daemonset).items():
        image = container["image"]
        name_and_tag, _, digest = image.partition("@")
        tag = name_and_tag.rpartition("/")[2].partition(":")[2]
        if tag == "latest" or not (re.fullmatch(r"sha256:[0-9a-f]{64}", digest) if digest else tag):
            yield f"{name} has the image {image}, which may be another one tomorrow"


def _probes(daemonset: Object) -> Iterator[str]:
    """Where there is an address to ask; on the loopback, since a node's port is open to its network."""
    if is_for_claims(daemonset):
        yield from _probes_in_its_own_network(rendering.containers(daemonset)["dra-driver"])
        return
    for name, container in rendering.containers(daemonset).items():
        [*addresses] = [
            each.removeprefix("--http=") for each in container.get("args", []) if each.startswith("--http=")
        ]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container.get(kind, {}).get("httpGet")
            said = [f"{asked['host']}:{asked['port']}"] if asked else []
            if said != addresses:
                yield f"the {kind} of {name} asks {said}, it listens on {addresses}"
        listens = container.get("ports") and name not in PROXIES
        if any(not each.startswith("127.0.0.1:") for each in addresses) or listens:
            yield f"{name} listens on the node's network"


def _probes_in_its_own_network(container: Object) -> Iterator[str]:
    listens = {each for each in container["args"] if each.startswith("--http=")}
    ports = {(each["name"], f"--http=0.0.0.0:{each['containerPort']}") for each in container.get("ports", [])}
    if ports != {("http", each) for each in listens}:
        yield f"dra-driver has the ports {ports}, it listens on {listens}"
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container.get(kind, {}).get("httpGet", {}).get("port")
        if asked != ("http" if listens else None):
            yield f"the {kind} of dra-driver asks {asked}"


def _importance(daemonset: Object) -> Iterator[str]:
    """Evicted or left pending, no pod of the node gets or loses a VF."""
    spec = _pod(daemonset)
    if spec.get("priorityClassName") != "system-node-critical":
        yield "the pod can be evicted"
    for name, container in rendering.containers(daemonset).items():
        if not {"cpu", "memory"} <= set(container.get("resources", {}).get("requests", {})):
            yield f"{name} requests no cpu or memory"
        if "cpu" in container["resources"].get("limits", {}):
            yield f"{name} is throttled: pods wait for it"


def _supervising(daemonset: Object) -> Iterator[str]:
    """A daemon that crashes is started again."""
    if _pod(daemonset).get("restartPolicy", "Always") != "Always":
        yield "a container that has ended stays so"


def _updating(daemonset: Object) -> Iterator[str]:
    """A second CNI daemon of a node waits for the first to go, and so is not ready. Two DRA drivers serve side by side,
    and none at all would make pods wait."""
    strategy = daemonset["spec"].get("updateStrategy", {})
    if is_for_claims(daemonset):
        if strategy.get("type") != "OnDelete" and strategy.get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield "a node may have no DRA driver for a while"
    elif strategy.get("type") != "OnDelete" and strategy.get("rollingUpdate", {}).get("maxSurge") != 0:
        yield "two pods may run on a node"
    if _pod(daemonset).get("terminationGracePeriodSeconds", 30) < 30:
        yield "calls under way are not given the time to end"


RULES: tuple[Rule, ...] = (
    _the_hosts_namespaces,
    _privilege,
    _capabilities,
    _seccomp,
    _the_nodes_folders,
    _mounting,
    _the_api_server,
    _tokens,
    _proxies,
    _agent,
    _images,
    _probes,
    _importance,
    _supervising,
    _updating,
)


def _pod(daemonset: Object) -> Object:
    spec: Object = daemonset["spec"]["template"]["spec"]
    return spec


def _contexts(daemonset: Object) -> list[tuple[str, Object]]:
    return [(name, each.get("securityContext", {})) for name, each in rendering.containers(daemonset).items()]


def _mounts(daemonset: Object) -> list[tuple[str, Object]]:
    found = rendering.containers(daemonset).items()
    return [(name, mount) for name, each in found for mount in each.get("volumeMounts", [])]
