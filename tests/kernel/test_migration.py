"""docs/migration.md, step by step, on a mock node: from sriov-cni to ours while a pod runs, and back."""

import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sriov import settings
from sriov.linux import netns
from tests.fakes import mock_kernel, mock_node
from tests.kernel import namespaces
from tests.sriov_cni import harness
from tests.sriov_installer import nodes

pytestmark = pytest.mark.root
PROJECT = pathlib.Path(__file__).parents[2]
THEIRS = "#!/bin/sh\necho sriov-cni\n"


class Place:
    """A mock node whose runtime calls whatever is in its folder of CNI plugins."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.root = nodes.make(folder / "root")
        self.root.shim.write_text(THEIRS)
        self.records = folder / "root/var/lib/cni/sriov"
        (self.records / "pci").mkdir(parents=True)
        (folder / "node").mkdir()
        self.node = mock_node.MockNode(folder / "node", pfs=1, vfs=2)
        self.vfs = sorted(self.node.state.read())
        self.identities = [self.node.netdev(vf) for vf in self.vfs]

    def attach_as_sriov_cni(self, pod: namespaces.Namespace, container: str) -> None:
        """The first VF, and what sriov-cni writes down of it."""
        home = self.identities[0]
        assert home is not None
        pf = self.node.state.read()[self.vfs[0]].pf
        with (
            netns.open_path(f"/run/netns/{self.node.name}") as host,
            netns.entered(host),
            mock_kernel.opener(self.node.folder)() as net,
        ):
            net.set_vf(pf, 0, settings.VfSettings(vlan=100), {settings.Setting.VLAN})
            net.move(home.index, pod.handle, "net1")
        original = {"HostIFName": home.name, "EffectiveMAC": home.address, "MTU": 1500, "Vlan": 0}
        network = harness.configuration(self.vfs[0], vlan=100, VFID=0, MTU=1500, OrigVfState=original)
        (self.records / f"{container}-net1").write_text(json.dumps(network))
        (self.records / "pci" / self.vfs[0]).write_text(pod.path)

    def dry_run(self) -> "subprocess.CompletedProcess[str]":
        config = self.root.root / "config.json"
        pool = {"resourceName": "vf", "selectors": {"rootDevices": ["0000:01:00.0"]}}
        config.write_text(json.dumps({"resourceList": [pool]}))
        flags = ["--dry-run", "--config-file", str(config), "--sysfs", str(self.node.sysfs_root)]
        command = [sys.executable, "-P", "-m", "deviceplugin", *flags]
        path = {"PYTHONPATH": str(PROJECT)}
        return subprocess.run(command, cwd=PROJECT, env=path, capture_output=True, text=True, check=False)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        run_dir = self.root.root / "run/sriov"
        run_dir.parent.mkdir(exist_ok=True)
        places = ["--run-dir", str(run_dir), "--sysfs", str(self.node.sysfs_root)]
        program = [sys.executable, "-P", "-m", "tests.fakes.cni_daemon", str(self.node.folder), *places]
        program += ["--predecessor-dir", str(self.records)]
        command = self.node.command("env", f"PYTHONPATH={PROJECT}", *program)
        with subprocess.Popen(command, cwd=PROJECT) as process:
            try:
                assert namespaces.until((run_dir / "cni.sock").exists)
                yield
            finally:
                process.terminate()

    def call(self, command: str, pod: namespaces.Namespace, number: int, container: str) -> harness.Answer:
        """By the plugin that is installed."""
        plugin = (sys.executable, "-IS", str(self.root.shim))
        client = harness.Client(self.root.root / "run/sriov/cni.sock", "", pod.path, plugin)
        return client.call(command, harness.configuration(self.vfs[number], vlan=7), CONTAINERID=container)


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with contextlib.closing(made.node):
        yield made


def test_there_with_a_pod_running_and_back(place: Place) -> None:
    with namespaces.made("old") as old, namespaces.made("new") as new:
        place.attach_as_sriov_cni(old, "old")
        shown = place.dry_run()
        assert (shown.returncode, place.vfs[1] in shown.stdout) == (0, True), shown
        before = place.root.files()
        assert place.root.run("install") == 1
        assert place.root.files() == before
        assert place.root.run("install", "--replace-incumbent") == 0
        assert place.root.run("status") == 0
        assert place.root.backup.read_text() == THEIRS
        with place.served():
            refused = place.call("ADD", new, 0, "new")
            assert (refused.code, "held by container old" in refused.message) == (11, True), refused
            assert place.call("ADD", new, 1, "new").code == 0
            assert place.call("DEL", old, 0, "old").code == 0
            assert place.root.run("uninstall") == 1
            assert place.call("DEL", new, 1, "new").code == 0
        assert place.root.run("uninstall") == 0
    after = before.keys() - {"var/lib/cni/sriov/old-net1", f"var/lib/cni/sriov/pci/{place.vfs[0]}"}
    assert place.root.files() == {name: before[name] for name in after}
    for vf, home in zip(place.vfs, place.identities, strict=True):
        assert home is not None
        assert place.node.vf_settings(vf) == settings.BASELINE
        now = place.node.netdev(vf)
        assert now is not None
        assert (now.name, now.address) == (home.name, home.address)
