"""Package sources of this machine and their keys, as files for a container that is to use the same.

apt's sources, proxy and the like, pip's indexes, and the authorities' certificates, of this machine's configuration.
Knows no address itself, and takes no source but Debian's own, of Debian 12: of others' a container has no key.
"""

import ast
import dataclasses
import pathlib
import re

from hack.guest.downloads import apt, mirrors
from tests import artefacts

_SUITES = ("bookworm", "bookworm-updates", "bookworm-security")
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_TRUSTED = "/etc/machine.crt"  # not where a container's own package ca-certificates would have to write
_PIP = re.compile(r"^(.+)\.(index-url|extra-index-url|trusted-host|proxy|cert)=('.*')$", re.M)


@dataclasses.dataclass(frozen=True, slots=True)
class Suppliers:
    """`sources` and `acquire` are all that apt needs on this machine; `mounts` are by their place in a container."""

    sources: pathlib.Path
    acquire: pathlib.Path
    mounts: dict[str, pathlib.Path]


def written(folder: pathlib.Path) -> Suppliers:
    """The files are in `folder`. Raises artefacts.BuildError where there is no apt or no pip."""
    acquire = artefacts.output("/usr/bin/apt-config", "dump", "--format", '%f "%v";%n', "Acquire")
    told = artefacts.output(artefacts.output("hack/locked", "wheel"), "-m", "pip", "config", "list")
    settings = pip_settings(told)
    authorities = pathlib.Path(settings.get("cert", _AUTHORITIES))
    texts = {
        "sources.list": "".join(f"{line}\n" for line in sources(mirrors.read(pathlib.Path("/etc/apt")))),
        "acquire": f"{acquire}\n",
        "apt.conf": f'{acquire}\nAcquire::https::CAInfo "{_TRUSTED}";\n',
        "pip.conf": "\n".join(
            ["[global]", *(f"{key} = {value}" for key, value in (settings | {"cert": _TRUSTED}).items())]
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    mounts = {
        "/etc/apt/sources.list": folder / "sources.list",
        "/etc/apt/apt.conf.d/99machine": folder / "apt.conf",
        "/etc/pip.conf": folder / "pip.conf",
        _TRUSTED: authorities,
    }
    return Suppliers(folder / "sources.list", folder / "acquire", mounts)


def sources(read: list[mirrors.Source]) -> list[str]:
    """Return the lines of a sources.list. A machine with another Debian has mirrors that have Debian 12 too."""
    listed = [(each.uri, suite) for each in read if "main" in each.components for suite in each.suites]
    ours = [(uri, suite) for uri, suite in listed if suite in _SUITES] or [
        *((uri, "bookworm") for uri in mirrors.archives(read)),
        *((uri, "bookworm-security") for uri in mirrors.security(read)),
    ]
    return [f"deb [signed-by={apt.KEYRING}] {uri} {suite} main" for uri, suite in ours]


def pip_settings(listed: str) -> dict[str, str]:
    """Of what `pip config list` prints, what leads to an index. A variable, `:env:`, comes before any file."""
    found = sorted(_PIP.findall(listed), key=lambda each: each[0] == ":env:")
    values = {key: str(ast.literal_eval(value)).split() for _, key, value in found}
    # A folder of this machine's is not a container's.
    reached = {key: " ".join(word for word in value if not word.startswith("file:")) for key, value in values.items()}
    return {key: value for key, value in reached.items() if value}
