"""The guest as a host with udev and a system bus, for network managers to run on, and as it was when they have gone.

It has our files where the installer puts them only once a test says so.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from sriov import devices
from sriov.hardware import inventory
from sriov_installer import artifacts
from tests.kernel import namespaces
from tests.lab import igb
from tests.lab.managers import debs
from tests.lab.udev import udevd

UNMANAGED = "unmanaged"
"""What both managers call it."""
PFS = (igb.PF0, igb.PF1)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BUS = pathlib.Path("/run/dbus")
_RULES = pathlib.Path("/etc/udev/rules.d")
_NETWORKS = pathlib.Path("/etc/systemd/network")
_EXCEPT = 'ACTION!="remove", SUBSYSTEM=="net", KERNELS=="{}", ENV{{NM_UNMANAGED}}="", ENV{{SRIOV_VF}}=""\n'
_POLICY = "".join(f'<allow {each}="*"/>' for each in ("user", "own", "send_destination", "receive_sender"))
_CONFIG = f"""<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><auth>EXTERNAL</auth><listen>unix:path={_BUS}/system_bus_socket</listen>
<policy context="default">{_POLICY}</policy></busconfig>
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """`store` has Debian's programs."""

    store: pathlib.Path
    udev: udevd.Udev

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PATH": _PATH, "LD_LIBRARY_PATH": debs.linker_path(self.store)}

    def run(self, program: str, *words: str) -> str:
        """What it prints, of an administrator's command, whether it succeeds or not."""
        command = [str(self.store / program), *words]
        return subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, text=True, check=False).stdout

    @contextlib.contextmanager
    def daemon(self, program: str, *words: str) -> Iterator[None]:
        process = subprocess.Popen([self.store / program, *words], env=self.environment)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    @contextlib.contextmanager
    def our_files(self) -> Iterator[None]:
        """As docs/provisioning.md has it: udev is asked about what is there already."""
        wanted = artifacts.provisioning(pathlib.Path("/nowhere"), _RULES, _NETWORKS, pathlib.Path("/nowhere"))
        with contextlib.ExitStack() as stack:
            stack.callback(self._ask_udev)
            for each in wanted:
                if each.path.parent in (_RULES, _NETWORKS):
                    stack.enter_context(file(each.path, each.content.decode()))
            self._ask_udev()
            yield

    @contextlib.contextmanager
    def excepted(self, pci: devices.PciAddress) -> Iterator[None]:
        """A VF that the administrator wants for the host. It is managed from its next appearance on."""
        with file(_RULES / "71-for-the-host.rules", _EXCEPT.format(pci)):
            self.udev.control("--reload")
            yield

    def _ask_udev(self) -> None:
        self.udev.control("--reload")
        self.udev.tell("trigger", "--action=change", "--subsystem-match=net", "--settle")


def vfs() -> list[devices.PciAddress]:
    return [each.pci for each in inventory.scan(igb.TREE).vfs.values()]


def names(pcis: Sequence[devices.PciAddress]) -> list[str]:
    return [str(igb.TREE.netdev_name(pci)) for pci in pcis]


def up() -> set[str]:
    with igb.opened() as net:
        return {link.parent for link in net.links() if link.parent is not None and link.up}


def with_addresses() -> set[str]:
    """IPv6 gives every link one that is up."""
    with igb.opened() as net:
        return {link.parent for link in net.links() if link.parent is not None and [*net.addresses(link.index)]}


def calm() -> None:
    """VFs as after a boot: down, without addresses; and IPv6 makes addresses by itself again, of PFs too."""
    free = names(vfs())
    for name in (*names(PFS), *free):
        pathlib.Path(f"/proc/sys/net/ipv6/conf/{name}/addr_gen_mode").write_text("0\n")  # makes one, of a link down too
    orders = "".join(f"link set {name} down\naddress flush dev {name}\n" for name in free)
    subprocess.run(["ip", "-batch", "-"], input=orders, text=True, check=True)


@contextlib.contextmanager
def opened(store: pathlib.Path) -> Iterator[Host]:
    with udevd.running(store) as udev:
        for rules in (store / "lib/udev/rules.d").glob("*-nm-*.rules"):  # NetworkManager's own
            shutil.copy(rules, "/usr/lib/udev/rules.d")
        udev.control("--reload")
        udev.tell("trigger", "--action=add", "--subsystem-match=net", "--settle")
        host = Host(store, udev)
        _BUS.mkdir()
        (_BUS / "conf").write_text(_CONFIG)
        try:
            with host.daemon("usr/bin/dbus-daemon", "--nofork", f"--config-file={_BUS}/conf"):
                assert namespaces.until((_BUS / "system_bus_socket").exists)
                yield host
        finally:
            shutil.rmtree(_BUS)


@contextlib.contextmanager
def file(path: pathlib.Path, content: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    try:
        yield
    finally:
        path.unlink()
