"""CNI errors: a failure as the runtime gets it, one JSON object on stdout with a typed code (CNI spec 1.1, "Error")."""

import enum
import errno

import msgspec

from sriov import errors


class Code(enum.IntEnum):
    """Codes of the spec; 8 and 999 are those that libcni itself uses; 100 and up are ours."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    INVALID_ENVIRONMENT = 4
    IO = 5
    DECODING = 6
    INVALID_CONFIG = 7
    INVALID_NETNS = 8
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    KERNEL = 100
    CHECK = 101
    INTERNAL = 999


class CniError(Exception):
    """A failure with its code. `message` names the thing and the value, `details` the remedy."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


_CODES: dict[type[errors.SriovError], Code] = {
    errors.UnsupportedError: Code.UNSUPPORTED_FIELD,
    errors.SettingError: Code.INVALID_CONFIG,
    errors.DeviceError: Code.INVALID_CONFIG,
    errors.NetnsError: Code.INVALID_ENVIRONMENT,
    errors.NameTakenError: Code.INVALID_ENVIRONMENT,
    errors.BusyError: Code.TRY_AGAIN,
    errors.UncleanError: Code.TRY_AGAIN,
    errors.LedgerError: Code.IO,
    errors.KernelError: Code.KERNEL,
}
# The spec wants the variable named in the message of code 4.
_VARIABLES = {errors.NetnsError: "CNI_NETNS", errors.NameTakenError: "CNI_IFNAME"}
_PASSING = {errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ENOMEM}


def from_sriov(error: errors.SriovError) -> CniError:
    kind = next(each for each in type(error).__mro__ if each in _CODES or each is errors.SriovError)
    code = _CODES.get(kind, Code.INTERNAL)
    if isinstance(error, errors.KernelError) and error.errno in _PASSING:
        code = Code.TRY_AGAIN
    variable = _VARIABLES.get(kind)
    return CniError(code, f"{variable}: {error.message}" if variable else error.message, error.remedy)


class _Object(msgspec.Struct, omit_defaults=True):
    cniVersion: str  # noqa: N815
    code: int
    msg: str
    details: str = ""


def encode(error: CniError, version: str) -> bytes:
    """Encode the object for stdout, in the configuration's version."""
    return msgspec.json.encode(_Object(version, error.code, _text(error.message), _text(error.details))) + b"\n"


def _text(message: str) -> str:
    return message.encode(errors="backslashreplace").decode()
