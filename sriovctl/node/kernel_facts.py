"""Running kernel: its release, configuration and command line, as far as they can be read."""

import gzip
import pathlib
import re
from collections.abc import Mapping

import msgspec

from sriov.hardware import sysfs

_OPTION = re.compile(r"^(CONFIG_\w+)=(.*)$", re.MULTILINE)


class RunningKernel(msgspec.Struct, frozen=True):
    """`release` is as in uname. `config` is empty if the kernel's configuration cannot be read.

    `first_fqs` are the ticks before RCU looks for quiescent states (rcutree.jiffies_till_first_fqs).
    """

    release: str = ""
    cmdline: str = ""
    config: Mapping[str, str] = msgspec.field(default_factory=dict)
    first_fqs: int | None = None

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor; (0, 0) if the release has none."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def hz(self) -> int | None:
        """Ticks per second."""
        value = self.config.get("CONFIG_HZ", "")
        return int(value) if value.isdecimal() else None


def read(sys: pathlib.Path, proc: pathlib.Path, boot: pathlib.Path) -> RunningKernel:
    """Read them: the kernel's own copy of its configuration first, then the distribution's in /boot."""
    release = sysfs.text(proc / "sys/kernel/osrelease") or ""
    text = _gzipped(proc / "config.gz") or _plain(boot / f"config-{release}")
    return RunningKernel(
        release,
        _plain(proc / "cmdline").strip(),
        dict(_OPTION.findall(text)),
        sysfs.integer(sys / "module/rcutree/parameters/jiffies_till_first_fqs"),
    )


def _gzipped(path: pathlib.Path) -> str:
    try:
        return gzip.decompress(path.read_bytes()).decode(errors="replace")
    except (OSError, EOFError):
        return ""


def _plain(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
