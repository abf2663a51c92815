"""Address of a daemon's HTTP endpoint, as on the command line. Pure."""

import argparse
import pathlib

import msgspec

_FORMS = "write HOST:PORT, as in 127.0.0.1:9557, or unix:/PATH"
_PORTS = range(1, 1 << 16)


class Tcp(msgspec.Struct, frozen=True):
    """`host` is a name or an address, without the brackets of IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Unix(msgspec.Struct, frozen=True):
    path: pathlib.Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = Tcp | Unix


def add_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--http",
        type=address,
        metavar="ADDRESS",
        help="HOST:PORT or unix:/PATH to answer /healthz, /readyz and /metrics (off)",
    )


def address(text: str) -> Address:
    """Parse an address. Raises argparse's error for other text; one without a host would be open to every network."""
    if text.startswith("unix:"):
        path = pathlib.Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise _error(text, "the path of a socket begins with /")
        return Unix(path)
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare) != (bare != host):
        raise _error(text, "it names no host")
    if not (port.isascii() and port.isdecimal() and int(port) in _PORTS):
        raise _error(text, f"{port!r} is no port")
    return Tcp(bare, int(port))


def _error(text: str, why: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"invalid address {text!r}: {why}; {_FORMS}")
