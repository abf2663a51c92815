"""Verdicts on files before they are on a node, by the programs' own parsers. Pure: texts in, verdicts out.

The keys tell what a file is: the device plugin's configuration, the node's policy, a network configuration, a
provisioning file; or objects of Kubernetes that hold these: ConfigMaps, by the names of their data, and
NetworkAttachmentDefinitions.
"""

import enum
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from sriov import errors
from sriov.pools import config
from sriov_cni.context import policy_rules
from sriov_cni.spec import cni_errors, typos, vf_request
from sriovctl import output
from sriovctl.node import cni_setup

_RESOURCE = "k8s.v1.cni.cncf.io/resourceName"
_FILLED_IN = {"deviceID": "0000:00:00.0"}  # as Multus does for a resource


class FileKind(enum.Enum):
    """What a file is; the value is that of `--kind`."""

    CONFIG = "config"
    POLICY = "policy"
    NETWORK = "network"
    PROVISIONING = "provisioning"


class FileVerdict(msgspec.Struct, frozen=True):
    """`source` is the file, and what of it is meant if it holds several things. Fine if there are no errors."""

    source: str
    kind: FileKind | None
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def judge(text: bytes, source: str, kind: FileKind | None, prefix: str) -> list[FileVerdict]:
    """Return a verdict for each thing in the text. `kind` None: it is told by its keys."""
    try:
        return [_verdict(text, source, kind, prefix)] if kind else _judged(_documents(text), text, source, prefix)
    except ValueError as error:
        return [FileVerdict(source, kind, (f"it is neither JSON nor YAML: {error}",))]
    except RecursionError:
        return [FileVerdict(source, kind, ("it is nested too deeply",))]


def _judged(found: list[Any], text: bytes, source: str, prefix: str) -> list[FileVerdict]:
    if len(found) == 1 and (kind := _told(found[0])) is not None:
        return [_verdict(text, source, kind, prefix)]
    verdicts = [verdict for each in found for verdict in _of_object(each, source, prefix)]
    if not verdicts and found and all(map(_is_object, found)):
        return [FileVerdict(source, None)]
    unknown = "these programs read nothing like it; --kind says what it is meant to be"
    return verdicts or [FileVerdict(source, None, (unknown,))]


def _documents(text: bytes) -> list[Any]:
    """Return the documents of the file, the items of a List each. Raises ValueError."""
    whole = text.decode()
    try:
        found = [json.loads(whole)]  # YAML takes it too, and a hundred times as long
    except ValueError:
        found = output.every_yaml(whole)
    return [one for each in found for one in (_items(each) if _is_object(each) else [each]) if one is not None]


def _items(found: dict[str, Any]) -> list[Any]:
    """Return the items of a List; of another object, itself."""
    items = found.get("items") if found["kind"] == "List" else [found]
    return items if isinstance(items, list) else []


def _told(found: Any) -> FileKind | None:
    keys = {str(key).lower() for key in found} if isinstance(found, dict) and not _is_object(found) else set()
    signs = {
        FileKind.CONFIG: {"resourcelist"},
        FileKind.POLICY: {"rules", "defaults"},
        FileKind.PROVISIONING: {"policies"},
        FileKind.NETWORK: {"type", "plugins", "cniversion"},
    }
    return next((kind for kind, names in signs.items() if names & keys), None)


def _is_object(found: Any) -> bool:
    """Report whether it is an object of Kubernetes."""
    return isinstance(found, dict) and {"apiVersion", "kind"} <= found.keys()


def _of_object(found: Any, source: str, prefix: str) -> Iterator[FileVerdict]:
    """Judge what an object of Kubernetes holds; others hold nothing."""
    if not _is_object(found):
        return
    metadata, spec, data = (_dict(found, key) for key in ("metadata", "spec", "data"))
    name = f"{source}: {found['kind']} {metadata.get('name')}"
    if found["kind"] == "NetworkAttachmentDefinition":
        yield _network(str(spec.get("config", "")).encode(), name, metadata)
    if found["kind"] == "ConfigMap":
        for key, text in data.items():
            kind = FileKind.CONFIG if metadata.get("name") == _OF_THE_OPERATOR else _DATA.get(str(key))
            if kind is not None:
                yield _verdict(str(text).encode(), f"{name}, {key}", kind, prefix)


def _dict(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    held = found.get(key)
    return held if isinstance(held, dict) else {}


_OF_THE_OPERATOR = "device-plugin-config"
"""ConfigMap of sriov-network-operator: its keys are names of nodes, each value is that node's config.json."""

_DATA = {
    "config.json": FileKind.CONFIG,
    "policy.json": FileKind.POLICY,
    "provision.yaml": FileKind.PROVISIONING,
}


def _verdict(text: bytes, source: str, kind: FileKind, prefix: str) -> FileVerdict:
    match kind:
        case FileKind.CONFIG:
            return _config(text, source, prefix)
        case FileKind.POLICY:
            return _refused(source, kind, lambda: policy_rules.parse(text, source))
        case FileKind.NETWORK:
            return _network(text, source)
        case FileKind.PROVISIONING:
            return _refused(source, kind, lambda: _provisioning(text, source))


def _config(text: bytes, source: str, prefix: str) -> FileVerdict:
    try:
        return FileVerdict(source, FileKind.CONFIG, (), config.parse(text, source, prefix).warnings)
    except config.ConfigError as error:
        return FileVerdict(source, FileKind.CONFIG, tuple(str(error).splitlines()))


def _provisioning(text: bytes, source: str) -> object:
    from sriov.provisioning import document  # noqa: PLC0415  # what most files do not need

    return document.parse(text, source)


def _refused(source: str, kind: FileKind, parse: Callable[[], object]) -> FileVerdict:
    try:
        parse()
    except errors.SriovError as error:
        return FileVerdict(source, kind, (str(error),))
    except cni_errors.CniError as error:
        return FileVerdict(source, kind, (f"{error.message}; {error.details}",))
    return FileVerdict(source, kind)


def _network(text: bytes, source: str, metadata: Mapping[str, Any] | None = None) -> FileVerdict:
    """Judge a configuration or a list of them.

    `metadata` are a NetworkAttachmentDefinition's: Multus fills in its name, and the device of the resource that it is
    annotated with.
    """
    try:
        whole = json.loads(text)
    except ValueError as error:
        return FileVerdict(source, FileKind.NETWORK, (f"it is not JSON: {error}",))
    if not isinstance(whole, dict):
        return FileVerdict(source, FileKind.NETWORK, ("it is no network configuration, which is a JSON object",))
    named = {"name": metadata.get("name")} if metadata else {}
    ours = [each for each in cni_setup.plugins({**named, **whole}) if each.get("type") in cni_setup.TYPES]
    if not ours:
        return FileVerdict(source, FileKind.NETWORK, (f"it has no plugin of type {' or '.join(cni_setup.TYPES)}",))
    told: list[str] = []
    if not any({"deviceID", "resourceName"} & each.keys() for each in ours):
        ours = [{**_FILLED_IN, **each} for each in ours]
        if metadata is None or _RESOURCE not in _dict(metadata, "annotations"):
            told.append(f"no deviceID: Multus has to fill it in, for a network that is annotated with {_RESOURCE}")
    documents = [cni_setup.document(each) for each in ours]
    problems = tuple(filter(None, map(cni_setup.problem, documents)))
    told += [each for one in documents for each in typos.warnings(one.values, vf_request.KEYS)]
    return FileVerdict(source, FileKind.NETWORK, problems, tuple(told))
