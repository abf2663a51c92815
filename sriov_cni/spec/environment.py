"""Environment of a CNI call, checked by a table: the variables that each command needs, and their valid values.

Source: CNI spec 1.1, "Parameters", and the checks of libcni and its skel. An empty variable counts as missing, because
libcni sets all of them on every call.
"""

import enum
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

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


class Arguments(msgspec.Struct, frozen=True):
    """CNI_ARGS, parsed; what is not there is empty. `problem` says why no ADD takes them: the rest is what can be read.

    `namespace`, `pod` and `uid` are the pod's, as Kubernetes runtimes pass them.
    """

    mac: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    problem: cni_errors.CniError | None = None


class Invocation(msgspec.Struct, frozen=True):
    """A checked environment. Fields that the command does not need are empty.

    `within` is the runtime's CNI_IFNAME if this is one of several interfaces that its call makes, or else "". Of those
    one makes the pod a member of its cluster, and the others are `further` ones.
    """

    command: Command
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: Arguments = msgspec.field(default_factory=Arguments)
    path: str = ""
    within: str = ""
    further: bool = False


def _container_id(value: str) -> str | None:
    if _CONTAINER_ID.fullmatch(value):
        return None
    return "must begin with a letter or digit and hold only letters, digits, '_', '.', '-'"


def ifname_problem(value: str) -> str | None:
    """Return why no interface of a pod can have this name; None if one can."""
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
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must be UTF-8"
    return None


class _Variable(msgspec.Struct, frozen=True):
    """One variable. Only commands in `checked` refuse an invalid value: a DEL uses no more than the names."""

    name: str
    required: frozenset[Command]
    checked: frozenset[Command]
    problem: Callable[[str], str | None]


_VARIABLES = (
    _Variable("CNI_CONTAINERID", _FOR_A_POD, _FOR_A_POD, _container_id),
    _Variable("CNI_NETNS", _IN_A_POD, _IN_A_POD, _text),
    _Variable("CNI_IFNAME", _FOR_A_POD, _IN_A_POD, ifname_problem),
    _Variable("CNI_IFNAME", frozenset(), frozenset({Command.DEL}), _any_ifname),
    _Variable("CNI_ARGS", frozenset(), _IN_A_POD, _text),
    _Variable("CNI_PATH", frozenset(), _IN_A_POD, _text),
)


def invocation(env: Mapping[str, str], args: Arguments) -> Invocation:
    """Check the environment; all missing variables are reported at once. Raises CniError with code 4.

    `args` are its CNI_ARGS, parsed.
    """
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
    return Invocation(
        command,
        container_id=env.get("CNI_CONTAINERID", ""),
        netns=env.get("CNI_NETNS", ""),
        ifname=env.get("CNI_IFNAME", ""),
        args=args,
        path=env.get("CNI_PATH", ""),
    )


def arguments(text: str) -> Arguments:
    """Parse CNI_ARGS: KEY=VALUE pairs, separated by ';'. Never fails: see `problem`."""
    pairs = [pair.partition("=") for pair in text.split(";") if pair]
    found = {key: value for key, equals, value in pairs if equals}
    return Arguments(
        found.get("MAC", ""),
        found.get("K8S_POD_NAMESPACE", ""),
        found.get("K8S_POD_NAME", ""),
        found.get("K8S_POD_UID", ""),
        _malformed(pairs) or _unknown(found) or _not_utf8(text),
    )


def refuse_invalid(args: Arguments) -> None:
    """Raises CniError with code 4 if no ADD takes these CNI_ARGS."""
    if args.problem is not None:
        raise args.problem


def _malformed(pairs: Sequence[tuple[str, str, str]]) -> cni_errors.CniError | None:
    """A pair is named by its place: what it says may be part of a secret."""
    malformed = [number for number, (_, equals, value) in enumerate(pairs, 1) if not equals or "=" in value]
    if not malformed:
        return None
    return _invalid(f"CNI_ARGS: pair {malformed[0]} is not KEY=VALUE", "separate the pairs by ';'")


def _unknown(found: Mapping[str, str]) -> cni_errors.CniError | None:
    """Unknown keys are a problem unless IgnoreUnknown says otherwise."""
    unknown = set(found) - {"IgnoreUnknown", "MAC"}
    if not unknown or found.get("IgnoreUnknown", "").lower() in ("1", "t", "true"):
        return None
    return _invalid(f"CNI_ARGS: unknown keys {', '.join(sorted(unknown))}", "pass IgnoreUnknown=1 to have them ignored")


def _not_utf8(text: str) -> cni_errors.CniError | None:
    problem = _text(text)
    return None if problem is None else _invalid(f"CNI_ARGS {problem}", "the runtime passes what cannot be written")


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
