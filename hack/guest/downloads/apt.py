"""A private apt: the machine's mirror, proxy and keys, but sources, lists and downloads of the lab's own.

It assumes that nothing is installed, so what it downloads is complete in itself and the same on every machine.
It never touches the system's package database; apt refuses unsigned packages.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from hack.guest import errors, progress
from hack.guest.downloads import mirrors

# The guest is the same on every Debian: QEMU >= 8 and Linux 6.12 are in the backports of Debian 12.
SUITES = ("bookworm", "bookworm-backports")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Apt:
    """apt-get in `folder`, which holds all of its state and may be deleted at any time. The last suite goes first."""

    def __init__(self, folder: Path, suites: Sequence[str] = SUITES) -> None:
        self._folder, self._suites = folder, suites
        self.archives = folder / "cache" / "archives"

    def use(self, mirror: str) -> None:
        """Makes `mirror` the only source."""
        for folder in ("lists/partial", "cache/archives/partial", "etc"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        # A mirror that is frozen, as build machines have it, is as good: nobody's security depends on the lab.
        options = ["check-valid-until=no", *([f"signed-by={KEYRING}"] if KEYRING.exists() else [])]
        lines = "".join(f"deb [{' '.join(options)}] {mirror} {suite} main\n" for suite in self._suites)
        (self._folder / "sources.list").write_text(lines)

    def update(self, shown: progress.Progress) -> None:
        """Reads the package lists."""
        self._get(["update", "--error-on=any"], "reading package lists", shown)

    def download(self, packages: Sequence[str], what: str, shown: progress.Progress) -> list[Path]:
        """The packages and everything they need, verified by apt, as .deb files. `what` they are is shown."""
        verb = ["install", "--yes", "--download-only", "--no-install-recommends", "-t", self._suites[-1]]
        self._get([*verb, *packages], f"downloading {what}", shown)
        return sorted(self.archives.glob("*.deb"))

    def download_alone(self, packages: Sequence[str], what: str, shown: progress.Progress) -> list[Path]:
        """Downloads these packages without their dependencies, in this order."""
        self._get(["download", "-t", self._suites[-1], *packages], f"downloading {what}", shown)
        return [next(self.archives.glob(f"{package.partition('=')[0]}_*.deb")) for package in packages]

    def _get(self, arguments: Sequence[str], what: str, shown: progress.Progress) -> None:
        reader, writer = os.pipe()
        with (self._folder / "log").open("w") as log, open(reader) as status:
            command = ["apt-get", *self._options(), "-o", f"APT::Status-Fd={writer}", *arguments]
            shown.show(what)
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=(writer,), cwd=self.archives,
            ) as process:  # fmt: skip
                os.close(writer)
                for line in status:
                    fraction = downloaded(line)
                    if fraction is not None:
                        shown.show(what, fraction)
        if process.returncode:
            complaint = [line for line in (self._folder / "log").read_text().splitlines() if line.startswith("E: ")]
            raise errors.UnavailableError(f"{what} failed: {complaint[0][3:] if complaint else f'see {log.name}'}")

    def _options(self) -> list[str]:
        settings = {
            "Dir::Etc::sourcelist": self._folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::Lists": self._folder / "lists",
            "Dir::State::status": self._folder / "status",
            "Dir::State::extended_states": self._folder / "extended_states",
            "Dir::Cache": self._folder / "cache",
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",  # the cache may be in a folder that apt's own user cannot enter
        }
        return ["-q", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]


def fetched(
    folder: Path, take: Callable[[Apt], list[Path]], shown: progress.Progress, suites: Sequence[str] = SUITES
) -> list[Path]:
    """Return what `take` gets from the first of this machine's mirrors that has it, kept below `folder`."""
    reason = errors.UnavailableError("no Debian archive in /etc/apt/sources.list or sources.list.d")
    private = Apt(folder, suites)
    for address in mirrors.archives(mirrors.read(Path("/etc/apt"))):
        try:
            private.use(address)
            private.update(shown)
            return take(private)
        except errors.UnavailableError as error:
            reason = error
    raise reason


def downloaded(line: str) -> float | None:
    """The fraction in a line of apt's status stream, `dlstatus:3:42.5:Retrieving file 4 of 20`."""
    kind, _, rest = line.partition(":")
    return float(rest.split(":")[1]) / 100 if kind == "dlstatus" else None
