"""The network configuration on stdin: decoded once for a whole call, and what every command needs of it.

What an ADD asks for its VF is checked in `vf_request`. The checks here are an ADD's and lenient ones for attachments
that are there: their DEL must succeed whatever the configuration says that no ADD takes.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from sriov import devices, errors
from sriov_cni.shim import wire
from sriov_cni.spec import cni_errors
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


class _Attachment(msgspec.Struct, frozen=True):
    container_id: str = msgspec.field(name="containerID")
    ifname: str = ""


_BY_KEY = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder(Any)
_NEEDED = ("cniVersion", "name", "deviceID", "ipam", "claims")
_ATTACHMENTS = msgspec.json.Decoder(list[_Attachment] | None)


class Document(msgspec.Struct, frozen=True):
    """Stdin, decoded. `values` are the JSON values by key, as they came; a key that comes twice has its last value.

    The others are the values that every command needs, of any JSON type, None for absent ones. `problem` says why stdin
    is no configuration; then there are no values. `refusal` says why no ADD takes it although there are.
    """

    values: Mapping[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    version: Any = None
    name: Any = None
    device_id: Any = None
    ipam: Any = None
    claims: Any = None
    problem: cni_errors.CniError | None = None
    refusal: cni_errors.CniError | None = None


class Network(msgspec.Struct, frozen=True):
    """What every command needs. `ipam` is the IPAM plugin's name, `device` a PCI address if there is a valid one.

    `version` and `name` are valid ones for an ADD; for an existing attachment they are unchecked, "" if absent.
    """

    version: str
    name: str
    device: devices.PciAddress | None
    ipam: str | None
    prev_result: bytes | None


def decode(stdin: bytes) -> Document:
    """Decode stdin. Never fails: `problem` is a CniError with code 5 or 6, which is raised by whoever needs values."""
    if len(stdin) > wire.STDIN_LIMIT:
        message = f"stdin is longer than {wire.STDIN_LIMIT} bytes"
        return Document(problem=cni_errors.CniError(Code.IO, message, "shorten the configuration"))
    try:
        found, refusal = _by_key(stdin)
        version, name, device_id, ipam, claims = [
            value(key, found[key], _ANY) if key in found else None for key in _NEEDED
        ]
        return Document(found, version, name, device_id, ipam, claims, refusal=refusal)
    except (msgspec.MsgspecError, RecursionError) as error:
        return Document(problem=_undecodable(str(error)))
    except cni_errors.CniError as error:
        return Document(problem=error)


def _by_key(stdin: bytes) -> tuple[Mapping[str, msgspec.Raw], cni_errors.CniError | None]:
    """The values, and why no ADD takes them: of keys that are no UTF-8, which Go's decoder takes."""
    try:
        return _BY_KEY.decode(stdin), None
    except UnicodeDecodeError as error:
        return _BY_KEY.decode(stdin.decode(errors="replace").encode()), _undecodable(str(error))


def values(document: Document) -> Mapping[str, msgspec.Raw]:
    """The values by key. Raises CniError with code 5 or 6 if stdin is no JSON object."""
    if document.problem is not None:
        raise document.problem
    return document.values


def value(key: str, raw: msgspec.Raw, decoder: msgspec.json.Decoder[_T]) -> _T:
    """Decode one value. Raises CniError with code 6 that says where in stdin the decoder found something else."""
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        # msgspec gives the place below the value: "Expected `str`, got `int` - at `$.type`".
        message, _, below = str(error).partition(" - at `$")
        raise _undecodable(f"{message} - at `$.{key}{below or '`'}") from error


def version(document: Document) -> str:
    """Return the version to answer in, as far as it is readable; never fails."""
    found = document.version
    return found if isinstance(found, str) and found else NEWEST


def network(document: Document) -> Network:
    """What an ADD needs. Raises CniError with code 1, 5, 6 or 7."""
    found = existing(document)
    if document.refusal is not None:
        raise document.refusal
    if not all(each is None or isinstance(each, str) for each in (document.name, document.version)):
        raise cni_errors.CniError(Code.DECODING, "name and cniVersion must be strings", _REMEDY)
    _check_name(document.name)
    if found.version not in VERSIONS:
        raise cni_errors.CniError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion {_named(found.version)!r} is not supported",
            f"use one of {', '.join(VERSIONS)}",
        )
    return found


def existing(document: Document) -> Network:
    """The same of an attachment that is there, for DEL, CHECK and GC: nothing is demanded that only an ADD may demand.

    The plugin that attached the VF accepted the configuration. That may have been sriov-cni, which takes versions and
    keys that are not taken here; or no plugin did, and the pod is to end. Raises CniError with code 5 or 6 if it is no
    JSON object.
    """
    raw = bytes(values(document).get("prevResult", b""))
    return Network(
        "" if document.version is None else str(document.version),
        document.name if isinstance(document.name, str) else "",
        _valid_device(document),
        _valid_ipam(document),
        None if raw in (b"", b"null", b"{}") else raw,
    )


def refuses(document: Document) -> bool:
    """Report whether every plugin's ADD refuses this configuration, by its version or name (containernetworking/cni,
    pkg/skel, checkVersionAndCall() and validateConfig())."""
    net = existing(document)
    return net.version not in (*_OLD_VERSIONS, *VERSIONS) or not _NETWORK.fullmatch(net.name)


def needs_version(net: Network, command: str, since: str) -> None:
    """Raises CniError with code 1 if the configuration's version is older than the command, or is none."""
    if _number(net.version) < _number(since):
        raise cni_errors.CniError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion {_named(net.version)} does not allow {command}",
            f"it came with {since}",
        )


def needs_name(net: Network) -> None:
    """Raises CniError with code 7 if the configuration does not say which network is meant."""
    _check_name(net.name)


def valid_attachments(document: Document) -> frozenset[tuple[str, str]]:
    """GC's list of container and interface names. `null` is an empty list, as Go writes it; absent is refused.

    `cni.dev/attachments` is the key of older runtimes (containernetworking/cni issue 1101).
    """
    given = values(document)
    key = next((each for each in ("cni.dev/valid-attachments", "cni.dev/attachments") if each in given), None)
    if key is None:
        raise invalid("GC without cni.dev/valid-attachments", "the runtime passes the attachments that are to stay")
    try:
        found = _ATTACHMENTS.decode(given[key]) or []
    except msgspec.ValidationError as error:
        raise cni_errors.CniError(Code.DECODING, f"{key}: {error}", "pass containerID and ifname of each") from error
    return frozenset((each.container_id, each.ifname) for each in found)


def is_plugin(name: str) -> bool:
    """Whether this can be the name of a file on CNI_PATH."""
    return _PLUGIN.fullmatch(name) is not None and name not in (".", "..")


def invalid(message: str, remedy: str) -> cni_errors.CniError:
    """An error with code 7: a value is out of range, or contradicts another."""
    return cni_errors.CniError(Code.INVALID_CONFIG, message, remedy)


def _check_name(name: str | None) -> None:
    if not _NETWORK.fullmatch(name or ""):
        raise invalid(f"name {name!r} is not a network name", "give the network a `name` of letters and digits")


def _named(version: str) -> str:
    """None is 0.1.0 (containernetworking/cni, pkg/version, ParseVersion())."""
    return version or "0.1.0"


def _number(version: str) -> tuple[int, ...]:
    """For comparing; what is no number is less than any."""
    found = _NUMBERS.fullmatch(_named(version))
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def _undecodable(message: str) -> cni_errors.CniError:
    return cni_errors.CniError(Code.DECODING, f"stdin is not a network configuration: {message}", _REMEDY)


def _valid_device(document: Document) -> devices.PciAddress | None:
    try:
        return devices.pci_address(document.device_id)
    except errors.DeviceError:
        return None


def _valid_ipam(document: Document) -> str | None:
    plugin = document.ipam.get("type") if isinstance(document.ipam, dict) else None
    return plugin if isinstance(plugin, str) and is_plugin(plugin) else None
