"""Mirrors that this machine takes Debian from: the archives in its own apt sources, in both formats that apt reads.

The lab needs Debian 12 and its backports from the same mirror, so that it works behind a proxy, on a mirror or
offline exactly if `apt-get update` works. No address is here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SUITES = frozenset({"bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"})


@dataclass(frozen=True)
class Source:
    """One archive as apt's sources name it (sources.list(5))."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


def parse_one_line(text: str) -> list[Source]:
    """The `deb` lines of a sources.list: `deb [options] uri suite component...`."""
    sources = []
    for line in text.splitlines():
        kind, _, rest = line.partition("#")[0].strip().partition(" ")
        if kind != "deb":
            continue
        words = (rest.split("]", 1)[1] if rest.lstrip().startswith("[") else rest).split()
        if len(words) >= 2:
            sources.append(Source(words[0], (words[1],), tuple(words[2:])))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """The enabled binary stanzas of a .sources file, one source for every URI."""
    sources = []
    for stanza in _stanzas(text):
        if "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes") == "no":
            continue
        suites, components = (tuple(stanza.get(key, "").split()) for key in ("suites", "components"))
        sources += [Source(uri, suites, components) for uri in stanza.get("uris", "").split()]
    return sources


def read(etc_apt: Path) -> list[Source]:
    """All sources of a machine, in the order in which apt reads them."""
    found = []
    for path in [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]:
        if path.suffix == ".list" and path.is_file():
            found += parse_one_line(path.read_text())
        elif path.suffix == ".sources":
            found += parse_deb822(path.read_text())
    return found


def archives(sources: Iterable[Source]) -> list[str]:
    """Return the URIs that may have Debian's main archive. Others may look like one, but their signature differs."""
    return list(dict.fromkeys(s.uri for s in sources if SUITES & {*s.suites} and "main" in s.components))


def security(sources: Iterable[Source]) -> list[str]:
    """Return the URIs of archives with Debian's security updates."""
    named = {f"{suite}-security" for suite in SUITES}
    return list(dict.fromkeys(s.uri for s in sources if named & {*s.suites} and "main" in s.components))


def _stanzas(text: str) -> Iterable[dict[str, str]]:
    for block in "\n".join(line for line in text.splitlines() if not line.startswith("#")).split("\n\n"):
        stanza: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            value = line
            if not line.startswith((" ", "\t")):
                name, _, value = line.partition(":")
                key = name.strip().lower()
            stanza[key] = f"{stanza.get(key, '')} {value.strip()}".strip()
        if stanza:
            yield stanza


if __name__ == "__main__":  # for hack/build-rootfs: one URI a line, of `archives` or of `security`
    for uri in {"archives": archives, "security": security}[sys.argv[1]](read(Path("/etc/apt"))):
        print(uri)
