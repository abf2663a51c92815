"""A node on which the programs of two versions lie side by side, and a runtime that calls the installed shim.

Nothing of the checkout runs on it: systemd, and whatever it starts, sees the checkout's packages as empty folders.
"""

import contextlib
import hashlib
import json
import pathlib
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence

from hack.story import node, stage
from sriov.state import ledger
from tests import artefacts
from tests.kernel import namespaces
from tests.lab.installing import systemd
from tests.sriov_cni import harness

POOL, VARIABLE = "lab.io/vf", "PCIDEVICE_LAB_IO_VF"
CNI = pathlib.Path("/opt/cni/bin")
KUBELET = pathlib.Path("/var/lib/kubelet")
RUN = pathlib.Path("/run/sriov")
CONFIG = pathlib.Path("/etc/pcidp/config.json")
TRY_AGAIN = 11
_OTHERS = [pathlib.Path(name) for name in ("/run/k8s.cni.cncf.io", "/run/cdi")]
"""Folders of Multus and of the container runtime."""
_LISTED = ("/etc", "/opt/cni", "/run", "/usr/local/bin", "/var/lib/cni", "/var/lib/kubelet", "/var/lib/systemd")
_LIVING = ("/run/systemd", "/run/log", "/run/netns", "/run/lab")
"""What systemd, the lab and pods change all the time."""
_CONFIG = {"resourceList": [{"resourcePrefix": "lab.io", "resourceName": "vf", "selectors": {"drivers": ["igbvf"]}}]}


class Node(node.Node):
    """Its kubelet is a stand-in, its systemd is real."""

    def __init__(self, folder: pathlib.Path, init: systemd.Systemd) -> None:
        super().__init__(stage.Igb(), folder, kubelet_dir=KUBELET, run_dir=RUN, shim=(str(CNI / "sriov"),))
        self.systemd = init

    def installer(self, version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.systemd.run(str(artefacts.INSTALLED / version / "bin/sriov-underlay"), *arguments)

    def succeeds(self, version: str, *arguments: str) -> str:
        done = self.installer(version, *arguments)
        assert done.returncode == 0, done.stderr + self.systemd.journal()
        return done.stdout

    def awaited(self, version: str, program: str) -> pathlib.Path:
        """The /proc/PID of the one such program, once systemd has started that version and no other is left."""
        wanted = str(artefacts.INSTALLED / version / "bin" / program)
        assert namespaces.until(lambda: [*_running(program)] == [wanted], 90), self.systemd.journal()
        return _running(program)[wanted]

    def call(self, command: str, pod: namespaces.Namespace, pci: str, ifname: str, **keys: object) -> int:
        """As a runtime that tries again when it is told to, and never otherwise; how often it was told."""
        client = harness.Client(RUN / "cni.sock", "", pod.path, (str(CNI / "sriov"),))
        for told in range(20):
            asked = harness.configuration(pci, **keys)
            answer = client.call(command, asked, CONTAINERID=pod.name, IFNAME=ifname)
            if answer.code != TRY_AGAIN:
                assert answer.code == 0, answer
                return told
        raise AssertionError("told to try again 20 times")


def leftovers() -> list[pathlib.Path]:
    """What another test has left in this guest, where an uninstallation would remove it as ours."""
    return [path for path in (RUN, CNI / "sriov") if path.exists()]


def records() -> list[ledger.Record]:
    return list(ledger.Ledger(RUN).records())


def listing() -> dict[str, object]:
    """Every file with its mode, owner and content, of all folders where something of ours could be."""
    return {str(path): _facts(path) for root in _LISTED for path in _walk(pathlib.Path(root))}


def device_info(pcis: Sequence[str]) -> set[str]:
    """The files that tell Multus of these VFs, and their folders."""
    folder = _OTHERS[0] / "devinfo/dp"
    name = POOL.replace("/", "-")
    return {str(folder.parent), str(folder), *(f"{folder}/{name}-{pci}-device.json" for pci in pcis)}


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if str(path) in _LIVING:
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _facts(path: pathlib.Path) -> object:
    facts = path.lstat()
    told = (facts.st_mode, facts.st_uid, facts.st_gid)
    if stat.S_ISLNK(facts.st_mode):
        return (*told, str(path.readlink()))
    return (*told, hashlib.sha256(path.read_bytes()).hexdigest()) if stat.S_ISREG(facts.st_mode) else told


def _running(program: str) -> dict[str, pathlib.Path]:
    found: dict[str, pathlib.Path] = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = path.read_text().split("\0")
            found |= {word: path.parent for word in words[:2] if word.endswith(f"/bin/{program}")}
    return found


@contextlib.contextmanager
def prepared(folder: pathlib.Path) -> Iterator[Node]:
    """A node with a kubelet that runs and a configuration that is the operator's."""
    packages = [path.parent for path in artefacts.PROJECT.glob("*/__init__.py")]
    subprocess.run(["sh", "-c", "ip netns add first && ip netns del first"], check=True)  # its folder is shared now
    with contextlib.ExitStack() as stack:
        for path in (CNI, KUBELET, CONFIG.parent, *_OTHERS):
            if not path.exists():
                path.mkdir(parents=True)
                stack.callback(shutil.rmtree, path)
        CONFIG.write_text(json.dumps(_CONFIG))
        stack.callback(shutil.rmtree, artefacts.INSTALLED)
        for version in (artefacts.VERSION, artefacts.NEXT):
            stack.enter_context(_mounted(version))
        init = stack.enter_context(systemd.booted(packages))
        made = Node(folder, init)
        with contextlib.closing(made):
            made.start_kubelet()
            yield made


@contextlib.contextmanager
def _mounted(version: str) -> Iterator[None]:
    source, target = artefacts.BUILD / f"programs-{version}", artefacts.INSTALLED / version
    target.mkdir(parents=True)
    subprocess.run(["mount", "--bind", source, target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", target], check=True)
