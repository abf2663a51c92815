"""Names of a resource for the kubelet, in a container's environment and on disk. Pure."""

import os
import re

from sriov import errors

# What the kubelet accepts: IsExtendedResourceName in kubernetes pkg/apis/core/v1/helper/helpers.go. The prefix may have
# 253 characters with the 9 of "requests." before it.
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_PREFIX = re.compile(rf"{_LABEL}(\.{_LABEL})*")

NAME_MAX = 63
PREFIX_MAX = 253 - len("requests.")
PATH_MAX = 107  # sun_path of struct sockaddr_un, without its NUL


def name_is_valid(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def prefix_is_valid(prefix: str) -> bool:
    reserved = prefix.endswith("kubernetes.io") or prefix.startswith("requests.")
    return not reserved and len(prefix) <= PREFIX_MAX and _PREFIX.fullmatch(prefix) is not None


def resource(prefix: str, name: str) -> str:
    """Return the extended resource that pods ask for, as in `intel.com/sriov`."""
    return f"{prefix}/{name}"


def pool(prefix: str, name: str) -> str:
    """Return the resource's part of its DRA pool's name: two DNS subdomains, so without capitals and underscores.

    What the API server accepts: ValidatePoolName in kubernetes pkg/apis/resource/validation/validation.go.
    """
    return f"{prefix}/{name.lower().replace('_', '-')}"


def variable(prefix: str, name: str) -> str:
    """Return the environment variable: upper case, dots become underscores, hyphens stay, as upstream."""
    return f"PCIDEVICE_{prefix}_{name}".upper().replace(".", "_")


def info_variable(prefix: str, name: str) -> str:
    """Return the variable with the devices' properties."""
    return f"{variable(prefix, name)}_INFO"


def digest(name: str) -> str:
    """Return 12 hexadecimal digits that stand for the part of a name that has no room."""
    import hashlib  # noqa: PLC0415  # loads OpenSSL: 2 of the 100 ms in which the device plugin has registered

    return hashlib.sha256(name.encode()).hexdigest()[:12]


def socket_room(folder: str) -> int:
    """Return the bytes left for a socket's name in the folder: its hidden name, one longer, must fit too."""
    return PATH_MAX - len(os.fsencode(f"{folder}/.x")) + 1


def socket(prefix: str, name: str, room: int) -> str:
    """Return the plugin's socket, a bare file name of at most `room` bytes; a long one is cut and gets a hash.

    Raises SriovError if even that is longer than `room`.
    """
    whole = f"{prefix}_{name}"
    if len(whole) + len(".sock") <= room:
        return f"{whole}.sock"
    tail = f"-{digest(whole)}.sock"
    if room < len(tail) + 1:
        raise errors.SriovError(
            f"the kubelet's directory is too deep for {whole}: a socket's path holds {PATH_MAX} bytes"
        )
    return whole[: room - len(tail)] + tail
