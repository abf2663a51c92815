"""Environment of a CNI call, checked by a table: the variables that each command needs, and their valid values.

Source: CNI spec 1.1, "Parameters", and the checks of libcni and its skel. An empty variable counts as missing, because
libcni sets all of them on every call.
"""

import dataclasses
import enum
import re
from collections.abc import Callable, Mapping

from sriov_cni.spec import cni_errors
from sriov_cni.spec.cni_errors import Code

_CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_IFNAME_MAX = 15  # bytes: IFNAMSIZ less the NUL
# Path aliases below /proc/sys/net, and a name that every namespace has.
_RESERVED_IFNAMES = frozenset({".", "..", "all", "default", "lo"})


class Command(enum.Enum):
    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_FOR_A_POD = frozenset({Command.ADD, Command.DEL, Command.CHECK})
_IN_A_POD = frozenset({Command.ADD, Command.CHECK})


@dataclasses.dataclass(frozen=True, slots=True)
class Invocation:
    """A checked environment. Fields that the command does not need are empty."""

    command: Command
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: str = ""
    path: str = ""


def _container_id(value: str) -> str | None:
    if _CONTAINER_ID.fullmatch(value):
        return None
    return "must begin with a letter or digit and hold only letters, digits, '_', '.', '-'"


def _ifname(value: str) -> str | None:
    if not value.isascii() or len(value) > _IFNAME_MAX:
        return f"must be ASCII and at most {_IFNAME_MAX} bytes long"
    if value in _RESERVED_IFNAMES:
        return "is reserved"
    # A % is a pattern to the kernel: eth%d becomes eth0.
    if any(char in "/:%" or char.isspace() or not char.isprintable() for char in value):
        return "must not hold '/', ':', '%', spaces or control characters"
    return None


def _any_ifname(value: str) -> str | None:
    """Refuse at DEL only a name that no plugin took (containernetworking/cni, pkg/utils, ValidateInterfaceName())."""
    if value in (".", "..") or len(value) > _IFNAME_MAX:
        return f"must be at most {_IFNAME_MAX} characters long"
    if any(char in "/:" or char.isspace() for char in value):
        return "must not hold '/', ':' or spaces"
    return None


def _text(value: str) -> str | None:
    """Refuse bytes that are no UTF-8: they arrive as surrogates, which no file can hold."""
    return "must be UTF-8" if any("\ud800" <= char <= "\udfff" for char in value) else None


@dataclasses.dataclass(frozen=True, slots=True)
class _Variable:
    """One variable. Only commands in `checked` refuse an invalid value: a DEL uses no more than the names."""

    name: str
    field: str
    required: frozenset[Command]
    checked: frozenset[Command]
    problem: Callable[[str], str | None]


_VARIABLES = (
    _Variable("CNI_CONTAINERID", "container_id", _FOR_A_POD, _FOR_A_POD, _container_id),
    _Variable("CNI_NETNS", "netns", _IN_A_POD, _IN_A_POD, _text),
    _Variable("CNI_IFNAME", "ifname", _FOR_A_POD, _IN_A_POD, _ifname),
    _Variable("CNI_IFNAME", "ifname", frozenset(), frozenset({Command.DEL}), _any_ifname),
    _Variable("CNI_ARGS", "args", frozenset(), _IN_A_POD, _text),
    _Variable("CNI_PATH", "path", frozenset(), _IN_A_POD, _text),
)


def invocation(env: Mapping[str, str]) -> Invocation:
    """Check the environment; all missing variables are reported at once. Raises CniError with code 4."""
    command = _command(env.get("CNI_COMMAND", ""))
    if command not in _FOR_A_POD:
        # libcni sets the other variables too, with any value.
        return Invocation(command, path=env.get("CNI_PATH", ""))
    missing = [each.name for each in _VARIABLES if command in each.required and not env.get(each.name)]
    if missing:
        raise _invalid(f"required variables are missing: {', '.join(missing)}", "the runtime sets them for each call")
    for each in _VARIABLES:
        value = env.get(each.name, "")
        if value and command in each.checked and (problem := each.problem(value)):
            raise _invalid(f"{each.name} {value!r} {problem}", "the runtime chose a name that cannot be used")
    return Invocation(command, **{each.field: env.get(each.name, "") for each in _VARIABLES})


def arguments(text: str) -> Mapping[str, str]:
    """Parse CNI_ARGS: K=V pairs, separated by ';'. Unknown keys are an error unless IgnoreUnknown is set."""
    pairs = [each.split("=") for each in text.split(";") if each]
    malformed = [number for number, each in enumerate(pairs, 1) if len(each) != 2]
    if malformed:  # named by its number: its text may be part of a secret
        raise _invalid(f"CNI_ARGS: pair {malformed[0]} is not KEY=VALUE", "separate the pairs by ';'")
    found = {each[0]: each[1] for each in pairs}
    unknown = set(found) - {"IgnoreUnknown", "MAC"}
    if unknown and found.get("IgnoreUnknown", "").lower() not in ("1", "t", "true"):
        raise _invalid(
            f"CNI_ARGS: unknown keys {', '.join(sorted(unknown))}", "pass IgnoreUnknown=1 to have them ignored"
        )
    return found


def pod(text: str) -> tuple[str, str]:
    """Return namespace and name of the pod in CNI_ARGS, empty if absent. Raises CniError with code 4."""
    given = arguments(text)
    return given.get("K8S_POD_NAMESPACE", ""), given.get("K8S_POD_NAME", "")


def pod_uid(text: str) -> str:
    """Return the UID of the pod in CNI_ARGS, empty if absent. Raises CniError with code 4."""
    return arguments(text).get("K8S_POD_UID", "")


def refuses(text: str) -> bool:
    """Report whether every ADD with these CNI_ARGS is refused before it changes anything."""
    try:
        arguments(text)
    except cni_errors.CniError:
        return True
    return _text(text) is not None


def _command(text: str) -> Command:
    if not text:
        raise _invalid("required variables are missing: CNI_COMMAND", "a CNI plugin is run by a container runtime")
    try:
        return Command(text)
    except ValueError:
        known = ", ".join(each.value for each in Command)
        raise _invalid(f"CNI_COMMAND {text!r} is not known", f"use one of {known}") from None


def _invalid(message: str, details: str) -> cni_errors.CniError:
    return cni_errors.CniError(Code.INVALID_ENVIRONMENT, message, details)
