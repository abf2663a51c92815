"""systemd-udevd with Debian's rules for netdevs, for as long as a test takes; the netdevs it renamed are named back."""

import contextlib
import dataclasses
import pathlib
import shutil
import subprocess
from collections.abc import Iterator

from sriov import devices
from sriov.linux import kernel
from tests.kernel import namespaces
from tests.lab import igb, stores

STORE = stores.Store("udev", "udev", lambda apt, shown: apt.download_alone(["udev"], "udev", shown), lambda _: True)
_RULES = pathlib.Path("/run/udev/rules.d/70-vfs.rules")
_LOG = pathlib.Path("/run/udev/log")
_IGNORED = "Invalid sender uid"
_DEBIAN = ("lib/udev/rules.d/80-net-setup-link.rules", "lib/systemd/network/99-default.link")


@dataclasses.dataclass(frozen=True, slots=True)
class Udev:
    """`program` is udevadm and, under another name, the daemon itself, which writes `log`."""

    program: pathlib.Path
    log: pathlib.Path

    def control(self, word: str) -> None:
        """Until udevd has heard it.

        It asks for the sender's uid once it has accepted the connection (udev_ctrl_event_handler() in udev-ctrl.c), and
        takes what was sent before that for a message of nobody's, which it ignores. udevadm does not hear of it.
        """
        before = self.log.read_text().count(_IGNORED)
        self.tell("control", word)
        while (now := self.log.read_text().count(_IGNORED)) > before:
            before = now
            self.tell("control", word)

    def tell(self, *words: str) -> None:
        subprocess.run([self.program, *words], check=True)

    def names(self, names: dict[devices.PciAddress, str]) -> None:
        """From now on each VF is renamed whenever its netdev appears in the host."""
        rule = 'SUBSYSTEM=="net", ACTION=="add", KERNELS=="{}", NAME="{}"\n'
        _RULES.write_text("".join(rule.format(*each) for each in names.items()))
        self.control("--reload")

    def replay(self, pci: devices.PciAddress) -> None:
        """As if the VF's netdev had just appeared."""
        self.tell("trigger", "--action=add", "--settle", f"/sys/class/net/{igb.TREE.netdev_name(pci)}")

    def properties(self, pci: devices.PciAddress) -> dict[str, str]:
        """What udev knows of the VF's netdev."""
        path = f"/sys/class/net/{igb.TREE.netdev_name(pci)}"
        words = [str(self.program), "info", "--query=property", path]
        shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    @contextlib.contextmanager
    def late(self) -> Iterator[None]:
        """It hears of everything afterwards, as on a busy host: names of a moment are gone by then."""
        self.control("--stop-exec-queue")
        try:
            yield
        finally:
            self.control("--start-exec-queue")

    def settle(self) -> None:
        """Until it has done with everything that the kernel told it of."""
        self.tell("settle", "--timeout=30")


@contextlib.contextmanager
def running(store: pathlib.Path) -> Iterator[Udev]:
    targets = {name: pathlib.Path("/run", *pathlib.Path(name).parts[1:]) for name in _DEBIAN}
    for name, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(store / name, target)
    _RULES.write_text("")
    daemon = pathlib.Path("/run/udev/systemd-udevd")
    daemon.unlink(missing_ok=True)
    daemon.symlink_to(store / "bin/udevadm")
    before = _links()
    with _LOG.open("w") as log:
        process = subprocess.Popen([daemon], stderr=log)
    try:
        assert namespaces.until(pathlib.Path("/run/udev/control").exists)
        yield Udev(store / "bin/udevadm", _LOG)
    finally:
        process.terminate()
        process.wait()
        print(_LOG.read_text())
        _name_back(before)
        for target in targets.values():
            target.unlink()
        shutil.rmtree("/run/udev")  # what it knew, and the rules of tests


def _links() -> dict[str, kernel.Link]:
    with igb.opened() as net:
        return {link.parent: link for link in net.links() if link.parent is not None}


def _name_back(before: dict[str, kernel.Link]) -> None:
    with igb.opened() as net:
        for pci, link in _links().items():
            for altname in link.altnames:
                net.drop_altname(link.index, altname)
            if pci in before and link.name != before[pci].name:
                net.rename(link.index, before[pci].name)
