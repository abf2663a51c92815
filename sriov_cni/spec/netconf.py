"""Network configuration: decoded, checked, frozen. No other module sees a dict.

Keys are those of sriov-cni, and `mtu`. A key with a wrong JSON type is a decoding failure (6), a value out of range an
invalid configuration (7), a value that no VF can have an unsupported field (2); each names key, value and remedy.
"""

import dataclasses
import re
from typing import Any, TypeVar

import msgspec

from sriov import devices, errors, settings
from sriov_cni.shim import wire
from sriov_cni.spec import cni_errors, environment, result, typos
from sriov_cni.spec.cni_errors import Code

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = VERSIONS[-1]
_OLD_VERSIONS = ("", "0.1.0", "0.2.0")
"""Versions that sriov-cni also took. They have another kind of result, which nothing here makes."""
_NUMBERS = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?")

_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_PLUGIN = re.compile(r"[a-zA-Z0-9_.\-]+")
_REMEDY = "pass one JSON object, as in the README"
_T = TypeVar("_T")
_MTU = (68, 65535)  # RFC 791's minimum; the kernel and the driver have their own maximum


class _Ipam(msgspec.Struct, frozen=True):
    type: str | None = None


class _RuntimeConfig(msgspec.Struct, frozen=True, rename="camel"):
    mac: str | None = None
    device_id: str | None = msgspec.field(default=None, name="deviceID")
    infiniband_guid: str | None = msgspec.field(default=None, name="infinibandGUID")


class _Document(msgspec.Struct, frozen=True):
    """Stdin as received. `null` is an absent key, as in Go."""

    cni_version: str | None = msgspec.field(default=None, name="cniVersion")
    name: str | None = None
    device_id: str | None = msgspec.field(default=None, name="deviceID")
    resource_name: str | None = msgspec.field(default=None, name="resourceName")
    vlan: int | None = None
    vlan_qos: int | None = msgspec.field(default=None, name="vlanQoS")
    vlan_proto: str | None = msgspec.field(default=None, name="vlanProto")
    mac: str | None = None
    spoofchk: str | None = None
    trust: str | None = None
    link_state: str | None = None
    min_tx_rate: int | None = None
    max_tx_rate: int | None = None
    mtu: int | None = None
    allmulti: str | None = None
    rdma_isolation: bool | None = msgspec.field(default=None, name="rdmaIsolation")
    guid: str | None = None
    pkey: str | None = None
    vlan_trunk: Any = msgspec.field(default=None, name="vlanTrunk")
    ipam: _Ipam | None = None
    dns: result.Dns | None = None
    runtime_config: _RuntimeConfig | None = msgspec.field(default=None, name="runtimeConfig")


class _Attachment(msgspec.Struct, frozen=True):
    container_id: str = msgspec.field(name="containerID")
    ifname: str = ""


KEYS = frozenset(each.encode_name for each in msgspec.structs.fields(_Document)) - {
    "name",
    "cniVersion",
    "runtimeConfig",
}
"""Keys of this plugin in a network configuration, without those that every CNI configuration has."""


class _Envelope(msgspec.Struct, frozen=True):
    """Fields that identify an existing attachment. Others may be such as no ADD takes; its DEL must still succeed."""

    cni_version: Any = msgspec.field(default=None, name="cniVersion")
    name: Any = None
    device_id: Any = msgspec.field(default=None, name="deviceID")
    ipam: Any = None
    prev_result: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="prevResult")


_DOCUMENT = msgspec.json.Decoder(_Document)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_BY_KEY = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ATTACHMENTS = msgspec.json.Decoder(list[_Attachment] | None)


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """Fields that every command needs. `ipam` is the IPAM plugin's name, `device` a valid PCI address, or None.

    `version` and `name` are valid ones for an ADD; for an existing attachment they are unchecked, "" if absent.
    """

    version: str
    name: str
    device: devices.PciAddress | None
    ipam: str | None
    prev_result: bytes | None


@dataclasses.dataclass(frozen=True, slots=True)
class Attachment:
    """Request of an ADD, checked. `mtu` None keeps the VF's; `pci` None: the kubelet chose the VF, for `resource`.

    `wanted` has the baseline for what is not named; `named` are the settings that the network names, of those that a
    node may declare. `rdma` None leaves it to the node whether RDMA devices move.
    """

    pci: devices.PciAddress | None
    wanted: settings.VfSettings
    named: settings.Switches
    mtu: int | None
    allmulti: bool = False
    resource: str = ""
    rdma: bool | None = None
    dns: result.Dns = dataclasses.field(default_factory=result.Dns)
    pkey: int | None = None


def version(stdin: bytes) -> str:
    """Return the version to answer in, as far as it is readable; never fails."""
    try:
        found = _decode(stdin, _ENVELOPE).cni_version
    except cni_errors.CniError:
        return NEWEST
    return found if isinstance(found, str) and found else NEWEST


def network(stdin: bytes) -> Network:
    """Decode the fields that an ADD needs. Raises CniError with code 1, 5, 6 or 7."""
    envelope = _decode(stdin, _ENVELOPE)
    if not all(each is None or isinstance(each, str) for each in (envelope.name, envelope.cni_version)):
        raise cni_errors.CniError(Code.DECODING, "name and cniVersion must be strings", _REMEDY)
    _check_name(envelope.name)
    if envelope.cni_version not in VERSIONS:
        # An absent version means 0.1.0 (libcni, ParseVersion).
        named = envelope.cni_version or "0.1.0"
        raise cni_errors.CniError(
            Code.INCOMPATIBLE_VERSION, f"cniVersion {named!r} is not supported", f"use one of {', '.join(VERSIONS)}"
        )
    return _network(envelope)


def existing(stdin: bytes) -> Network:
    """Decode the fields of an existing attachment, for DEL, CHECK and GC, without the demands of an ADD.

    The plugin that attached the VF accepted the configuration. That may have been sriov-cni, which takes versions and
    keys that are not taken here; or no plugin did, and the pod is to end. Raises CniError with code 5 or 6 if it is no
    JSON object.
    """
    return _network(_decode(stdin, _ENVELOPE))


def refuses(stdin: bytes) -> bool:
    """Report whether every plugin's ADD refuses this configuration, by its version or name (containernetworking/cni,
    pkg/skel, checkVersionAndCall() and validateConfig())."""
    net = existing(stdin)
    return net.version not in (*_OLD_VERSIONS, *VERSIONS) or not _NETWORK.fullmatch(net.name)


def _network(envelope: _Envelope) -> Network:
    raw = bytes(envelope.prev_result)
    prev_result = None if raw in (b"", b"null", b"{}") else raw
    return Network(
        "" if envelope.cni_version is None else str(envelope.cni_version),
        envelope.name if isinstance(envelope.name, str) else "",
        _sound_device(envelope),
        _sound_ipam(envelope),
        prev_result,
    )


def attachment(stdin: bytes, args: str) -> Attachment:
    """Check the request of an ADD, with CNI_ARGS. Raises CniError with code 2, 4, 6 or 7."""
    document = _decode(stdin, _DOCUMENT)
    _check_ipam(document)
    _refuse_trunk(document)
    device = _device(document)
    try:
        return Attachment(
            None if device is None else devices.pci_address(device),
            _wanted(document, args),
            _named(document),
            _mtu(document.mtu),
            _switch("allmulti", document.allmulti) or False,
            document.resource_name or "",
            document.rdma_isolation,
            document.dns or result.Dns(),
            _pkey(document.pkey),
        )
    except errors.SriovError as error:
        raise cni_errors.from_sriov(error) from error


def warnings(stdin: bytes) -> tuple[str, ...]:
    """Return warnings about ignored keys that nobody reads. To be called after the VF's move."""
    keys = _decode(stdin, _BY_KEY)
    return typos.warnings(keys, KEYS)


def needs_version(net: Network, command: str, since: str) -> None:
    """Raise CniError with code 1 if the configuration's version is older than the command, or is none."""
    if _number(net.version) < _number(since):
        named = net.version or "0.1.0"
        raise cni_errors.CniError(
            Code.INCOMPATIBLE_VERSION, f"cniVersion {named} does not allow {command}", f"it came with {since}"
        )


def needs_name(net: Network) -> None:
    """Raise CniError with code 7 if the network's name is missing or invalid."""
    _check_name(net.name)


def _check_name(name: str | None) -> None:
    if not _NETWORK.fullmatch(name or ""):
        raise _invalid(f"name {name!r} is not a network name", "give the network a `name` of letters and digits")


def _number(version: str) -> tuple[int, ...]:
    """Parse for comparison. "" is 0.1.0 (containernetworking/cni, pkg/version, ParseVersion()); other text is least."""
    found = _NUMBERS.fullmatch(version or "0.1.0")
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def valid_attachments(stdin: bytes) -> frozenset[tuple[str, str]]:
    """Return GC's list of container and interface names. `null` is an empty list, as Go writes it; absent is refused.

    `cni.dev/attachments` is the key of older runtimes (containernetworking/cni issue 1101).
    """
    keys = _decode(stdin, _BY_KEY)
    key = next((each for each in ("cni.dev/valid-attachments", "cni.dev/attachments") if each in keys), None)
    if key is None:
        raise _invalid("GC without cni.dev/valid-attachments", "the runtime passes the attachments that are to stay")
    try:
        found = _ATTACHMENTS.decode(keys[key]) or []
    except msgspec.ValidationError as error:
        raise cni_errors.CniError(Code.DECODING, f"{key}: {error}", "pass containerID and ifname of each") from error
    return frozenset((each.container_id, each.ifname) for each in found)


def _decode(stdin: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    if len(stdin) > wire.STDIN_LIMIT:
        raise cni_errors.CniError(
            Code.IO, f"stdin is longer than {wire.STDIN_LIMIT} bytes", "shorten the configuration"
        )
    try:
        return decoder.decode(stdin)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        message = f"stdin is not a network configuration: {error}"
        raise cni_errors.CniError(Code.DECODING, message, _REMEDY) from error


def _sound_device(envelope: _Envelope) -> devices.PciAddress | None:
    try:
        return devices.pci_address(envelope.device_id)
    except errors.DeviceError:
        return None


def _sound_ipam(envelope: _Envelope) -> str | None:
    plugin = envelope.ipam.get("type") if isinstance(envelope.ipam, dict) else None
    return plugin if isinstance(plugin, str) and _is_plugin(plugin) else None


def _is_plugin(name: str) -> bool:
    return _PLUGIN.fullmatch(name) is not None and name not in (".", "..")


def _check_ipam(document: _Document) -> None:
    plugin = document.ipam.type if document.ipam else None
    if plugin and not _is_plugin(plugin):
        raise _invalid(f"ipam.type {plugin!r} is not a plugin's name", "write the name of a file on CNI_PATH")


def _refuse_trunk(document: _Document) -> None:
    if document.vlan_trunk:
        raise cni_errors.CniError(
            Code.UNSUPPORTED_FIELD,
            f"vlanTrunk {document.vlan_trunk!r}: no driver takes a list of VLANs for a VF through the kernel's netlink",
            "set one `vlan`, or leave both out and tag in the pod",
        )


def _device(document: _Document) -> str | None:
    injected = document.runtime_config.device_id if document.runtime_config else None
    if injected and document.device_id and injected != document.device_id:
        raise _invalid(
            f"deviceID {document.device_id!r} and runtimeConfig.deviceID {injected!r} differ", "leave one of them out"
        )
    device = injected or document.device_id or None
    if device is None and not document.resource_name:
        raise _invalid(
            "VF pci addr is required: the configuration has no deviceID and no resourceName",
            "let Multus fill deviceID in from the annotation k8s.v1.cni.cncf.io/resourceName, or write one of them",
        )
    return device


def _wanted(document: _Document, args: str) -> settings.VfSettings:
    proto = settings.proto(document.vlan_proto or settings.VlanProto.Q.value)
    mac = _mac(document, args)
    return settings.check_together(
        _named(document).over(
            settings.VfSettings(
                mac=settings.NO_MAC if mac is None else settings.mac(mac),
                vlan=settings.vlan(document.vlan or 0),
                qos=settings.qos(document.vlan_qos or 0),
                proto=proto,
                link_state=_link_state(document.link_state),
                min_tx_rate=settings.rate("min_tx_rate", document.min_tx_rate or 0),
                max_tx_rate=settings.rate("max_tx_rate", document.max_tx_rate or 0),
                guid=_guid(document),
            )
        )
    )


def _named(document: _Document) -> settings.Switches:
    return settings.Switches(trust=_switch("trust", document.trust), spoofchk=_switch("spoofchk", document.spoofchk))


def _mac(document: _Document, args: str) -> str | None:
    """Take the MAC from runtimeConfig, then CNI_ARGS, then the configuration (CNI CONVENTIONS.md)."""
    runtime = document.runtime_config.mac if document.runtime_config else None
    return runtime or environment.arguments(args).get("MAC") or document.mac or None


def _guid(document: _Document) -> str:
    """Take the GUID from runtimeConfig first, which ib-kubernetes fills in."""
    runtime = document.runtime_config.infiniband_guid if document.runtime_config else None
    given = runtime or document.guid or ""
    return settings.guid(given) if given else ""


def _pkey(text: str | None) -> int | None:
    """Parse a partition key as ib-sriov-cni writes it, in hex: 0x8001."""
    if not text:
        return None
    try:
        number = int(text, 16)
    except ValueError:
        raise _invalid(f"pkey {text!r} is not a partition key", "write it in hex, as in 0x8001") from None
    return settings.in_range("pkey", number, 1, 0xFFFF)


def _switch(key: str, value: str | None) -> bool | None:
    if not value:
        return None
    if value not in ("on", "off"):
        raise cni_errors.CniError(
            Code.UNSUPPORTED_FIELD, f"{key} {value!r} is neither on nor off", 'write "on" or "off"'
        )
    return value == "on"


def _link_state(value: str | None) -> settings.LinkState:
    try:
        return settings.LinkState(value or "auto")
    except ValueError:
        known = ", ".join(each.value for each in settings.LinkState)
        raise cni_errors.CniError(
            Code.UNSUPPORTED_FIELD, f"invalid link_state value: {value}", f"use one of {known}"
        ) from None


def _mtu(value: int | None) -> int | None:
    return None if value is None else settings.in_range("mtu", value, *_MTU)


def _invalid(message: str, details: str) -> cni_errors.CniError:
    return cni_errors.CniError(Code.INVALID_CONFIG, message, details)
