"""The DaemonSet's declarations as arguments of a container runtime. Pure: what runs in the guest is what is declared.

Refuses whatever it does not translate, so that nothing declared is left out of what is tested.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PATH = "/usr/local/bin:/usr/bin"
"""As the image's ENV has it."""

_POD = {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER_KEYS = {
    *("name", "image", "imagePullPolicy", "command", "args", "securityContext", "resources", "volumeMounts"),
    *("startupProbe", "readinessProbe", "livenessProbe", "env"),
}
_MEBIBYTE = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """`path` is the node's; a ConfigMap's is "", and `config` names it. `must_exist`: the kubelet makes none.

    `annotated` is the file of an annotation, which the pod does not have.
    """

    name: str
    path: str = ""
    must_exist: bool = False
    config: str = ""
    annotated: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """`follows`: what is mounted below it on the node, or removed there, is so in the container."""

    volume: str
    target: str
    read_only: bool
    follows: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Container:
    """`capabilities` without CAP_; `memory` in bytes; `probe` is the URL that says that it has started, or "".

    `environment` has NAME=VALUE."""

    name: str
    command: tuple[str, ...]
    capabilities: frozenset[str]
    mounts: tuple[Mount, ...]
    memory: int
    probe: str
    environment: tuple[str, ...] = ()

    def without(self, lost: str) -> "Container":
        """Less one capability, or one mount by its volume's name."""
        assert lost in self.capabilities or lost in {mount.volume for mount in self.mounts}, lost
        kept = tuple(mount for mount in self.mounts if mount.volume != lost)
        return dataclasses.replace(self, capabilities=self.capabilities - {lost}, mounts=kept)


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """`configs` are ConfigMaps, each a folder of files."""

    volumes: Mapping[str, Volume]
    containers: Mapping[str, Container]
    configs: Mapping[str, Mapping[str, str]]


def pod(documents: Sequence[Mapping[str, Any]]) -> Pod:
    """The manifests' one DaemonSet, with its init container among the containers. Raises ValueError."""
    [daemonset] = [each for each in documents if each["kind"] == "DaemonSet"]
    spec = daemonset["spec"]["template"]["spec"]
    if spec["securityContext"] != _POD or spec["hostNetwork"] is not True or {"hostPID", "hostIPC"} & set(spec):
        raise ValueError(f"a pod that is not translated: {spec['securityContext']}")
    found = [_container(each) for each in (*spec["initContainers"], *spec["containers"])]
    configs = {each["metadata"]["name"]: each["data"] for each in documents if each["kind"] == "ConfigMap"}
    volumes = [_volume(each) for each in spec["volumes"]]
    return Pod({each.name: each for each in volumes}, {each.name: each for each in found}, configs)


def _volume(declared: Mapping[str, Any]) -> Volume:
    match declared:
        case {"name": name, "hostPath": {"path": path, "type": "Directory" | "DirectoryOrCreate" as kind}}:
            return Volume(name, path, must_exist=kind == "Directory")
        case {"name": name, "configMap": {"name": config}}:
            return Volume(name, config=config)
        case {"name": name, "downwardAPI": {"items": [{"path": file, "fieldRef": {"fieldPath": field}}]}}:
            if not field.startswith("metadata.annotations["):
                raise ValueError(f"a field of the pod that is not translated: {field}")
            return Volume(name, annotated=file)
    raise ValueError(f"a volume that is not translated: {declared}")


def _container(declared: Mapping[str, Any]) -> Container:
    context = declared["securityContext"]
    capabilities = context["capabilities"]
    expected = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": capabilities}
    if unknown := set(declared) - _CONTAINER_KEYS:
        raise ValueError(f"{declared['name']} has {unknown}, which is not translated")
    if context != expected or capabilities["drop"] != ["ALL"]:
        raise ValueError(f"{declared['name']} has a security context that is not translated: {context}")
    memory = declared["resources"]["limits"]["memory"]
    return Container(
        name=declared["name"],
        command=(*declared["command"], *declared.get("args", ())),
        capabilities=frozenset(capabilities.get("add", ())),
        mounts=tuple(_mount(each) for each in declared["volumeMounts"]),
        memory=int(memory.removesuffix("Mi")) * _MEBIBYTE,
        probe="http://{host}:{port}{path}".format(**probe["httpGet"])
        if (probe := declared.get("startupProbe"))
        else "",
        environment=tuple(map(_variable, declared.get("env", ()))),
    )


def _variable(declared: Mapping[str, Any]) -> str:
    if set(declared) != {"name", "value"}:
        raise ValueError(f"a variable that is not translated: {declared}")
    return f"{declared['name']}={declared['value']}"


def _mount(declared: Mapping[str, Any]) -> Mount:
    unknown = set(declared) - {"name", "mountPath", "readOnly", "mountPropagation"}
    propagation = declared.get("mountPropagation", "None")
    if unknown or propagation not in ("None", "HostToContainer"):
        raise ValueError(f"a mount that is not translated: {declared}")
    follows = propagation == "HostToContainer"
    return Mount(declared["name"], declared["mountPath"], declared.get("readOnly", False), follows)


def create_options(container: Container) -> list[str]:
    """Of `ctr container create`: what decides about its default seccomp profile."""
    return ["--net-host", "--seccomp", *(word for name in sorted(container.capabilities) for word in _grant(name))]


def _grant(name: str) -> tuple[str, str]:
    return "--cap-add", f"CAP_{name}"


def oci(base: Mapping[str, Any], container: Container, root: str, sources: Mapping[str, str]) -> dict[str, Any]:
    """The runtime's spec: `base` is what containerd makes of create_options. `sources` are the volumes' folders.

    A kubelet's containers have no tmpfs at /run, which `ctr` adds.
    """
    spec: dict[str, Any] = json.loads(json.dumps(base))
    granted = sorted(f"CAP_{name}" for name in container.capabilities)
    spec["process"] |= {
        "args": list(container.command),
        "env": [f"PATH={PATH}", *container.environment],
        "user": {"uid": 0, "gid": 0},
        "noNewPrivileges": True,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), granted),
    }
    spec["root"] = {"path": root, "readonly": True}
    spec["mounts"] = [each for each in spec["mounts"] if each["destination"] != "/run"]
    spec["mounts"] += _binds(container, sources)
    if any(mount.follows for mount in container.mounts):  # else runc makes every mount private
        spec["linux"]["rootfsPropagation"] = "rslave"
    spec["linux"]["resources"]["memory"] = {"limit": container.memory}
    return spec


def _binds(container: Container, sources: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """As the kubelet asks for them: private unless told otherwise, and with what is mounted below."""
    for mount in container.mounts:
        options = ["rbind", "rslave" if mount.follows else "rprivate", "ro" if mount.read_only else "rw"]
        yield {"destination": mount.target, "type": "bind", "source": sources[mount.volume], "options": options}
