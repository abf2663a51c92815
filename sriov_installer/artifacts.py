"""Artifacts of this version: the shim that runtimes execute, systemd's units, and the optional files of Services and of
provisioning.

Provisioning makes VFs at boot and keeps network managers off them. Nothing is written here. The native shim is used if
the package has one for this machine (hack/build-shim), else the Python shim.
"""

import pathlib
import platform

import msgspec

from sriov_installer import marks

_PACKAGE = pathlib.Path(__file__).parents[1] / "sriov_cni/shim"
_HERE = pathlib.Path(__file__).parent
UNITS = ("sriov-cni.socket", "sriov-cni.service", "sriov-device-plugin.service")
PROGRAMS = ("sriov-cni-daemon", "sriov-device-plugin")
PROVISION = "sriov-provision.service"
AGENT, AGENT_PROGRAM = "sriov-agent.service", "sriov-agent"
DROP_IN = "sriov-cni.service.d/sriov-cni-services.conf"
PROVISIONER = "sriovctl"
RULES = "70-sriov-vfs.rules"
NETWORK = "00-sriov-vfs.network"
SHELLS = ("bash", "zsh", "fish")
_COMPLETIONS = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}
"""Where the shells look below a folder of data, by the program's name."""
PLUGIN = "sriov"
"""Name of the plugin in network configurations: their `type`."""
PLUGINS = (PLUGIN, "ib-sriov")
"""Names that the shim can have: ib-sriov-cni's, too, whose networks are the same plugin's."""
OLDEST_PYTHON = (3, 10)
"""Oldest one that runs the Python shim: with an older one each call would end in a traceback no runtime can read."""


class Artefact(msgspec.Struct, frozen=True):
    """A file as it is to be. `interpreter` is the program that the host needs to run it, "" for none.

    `displaces`: another program's file of that name may be put aside, if the user allows it.
    """

    path: pathlib.Path
    content: bytes
    mode: int
    interpreter: str = ""
    displaces: bool = False


def shim(cni_bin_dir: pathlib.Path, package: pathlib.Path = _PACKAGE, *, name: str = PLUGIN) -> Artefact:
    native = package / f"shim-{platform.machine()}"
    chosen = native if native.is_file() else package / "shim.py"
    content = chosen.read_bytes()
    needs = "" if is_native(content) else "/usr/bin/python3"
    return Artefact(cni_bin_dir / name, marks.stamped(content, marks.version()), 0o755, needs, displaces=True)


def units(systemd_dir: pathlib.Path, programs_dir: pathlib.Path) -> tuple[Artefact, ...]:
    """Return the units, which start the programs in `programs_dir`."""
    return tuple(_text("units", systemd_dir / name, programs_dir) for name in UNITS)


def services(systemd_dir: pathlib.Path, programs_dir: pathlib.Path) -> tuple[Artefact, ...]:
    """Return the agent's unit, and what lets the CNI daemon's translate Services."""
    return tuple(_text("units", systemd_dir / name, programs_dir) for name in (AGENT, DROP_IN))


def provisioning(
    systemd_dir: pathlib.Path, udev_dir: pathlib.Path, networkd_dir: pathlib.Path, programs_dir: pathlib.Path
) -> tuple[Artefact, ...]:
    """Return the unit that makes VFs at boot, and files that keep NetworkManager and systemd-networkd off them."""
    return (
        _text("units", systemd_dir / PROVISION, programs_dir),
        _text("udev", udev_dir / RULES, programs_dir),
        _text("units", networkd_dir / NETWORK, programs_dir),
    )


def completions(data_dir: pathlib.Path) -> tuple[Artefact, ...]:
    """Return the programs' completions for each shell (hack/gen-completions); in all of them # begins a comment."""
    found = [(shell, path) for shell in SHELLS for path in sorted((_HERE / "completions" / shell).iterdir())]
    return tuple(
        Artefact(
            data_dir / _COMPLETIONS[shell].format(path.name), marks.stamped(path.read_bytes(), marks.version()), 0o644
        )
        for shell, path in found
    )


def is_completion(one: Artefact) -> bool:
    return any(one.path.match(where.format("*")) for where in _COMPLETIONS.values())


def _text(folder: str, path: pathlib.Path, programs_dir: pathlib.Path) -> Artefact:
    """Read a text file; in all of these # begins a comment, so that they can be stamped."""
    text = (_HERE / folder / path.name).read_text().replace("@PROGRAMS@", str(programs_dir))
    return Artefact(path, marks.stamped(text.encode(), marks.version()), 0o644)


def is_native(content: bytes) -> bool:
    return content.startswith(b"\x7fELF")
