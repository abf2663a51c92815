"""Containers as sriov-network-operator starts them, from this image: its arguments, mounts and privileges.

They are those of its manifests at commit 249e2001: bindata/manifests/plugins/sriov-device-plugin.yaml and
bindata/manifests/daemon/daemonset.yaml. The CNI daemon is the one beside it.
"""

import contextlib
import json
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

import pytest

from sriov import devices
from sriov.state import ledger
from tests.fakes import config_maps
from tests.hack import test_containerfile
from tests.kernel import namespaces
from tests.lab import igb
from tests.lab.image import manifests, nodes, test_confinement
from tests.lab.runtimes import benches

RESOURCE = "openshift.io/rail_a"
NODE = "node-1"
ARGUMENTS = ("--log-level=10", "--resource-prefix=openshift.io", f"--config-file=/etc/pcidp/{NODE}", "--use-cdi")
SAME = ("/var/lib/kubelet/device-plugins", "/var/run/k8s.cni.cncf.io/devinfo/dp", "/var/run/cdi")
"""Folders of the node that the device plugin sees at their own paths, and may write."""
_SELECTORS = {"drivers": ["igbvf"], "IsRdma": False, "NeedVhostNet": False}
CONFIG = json.dumps({"resourceList": [{"resourceName": "rail_a", "selectors": _SELECTORS, "SelectorObj": None}]})
OURS = test_containerfile.TARGETS["device-plugin"]
ANOTHER = ("sriov-device-plugin",)
"""Another image's entry point: of one that ends where there is no configuration."""
INCUMBENT = b"\x7fELF of sriov-cni"


def mounted(source: pathlib.Path | str, target: str, way: str = "rw") -> str:
    return f"--mount=type=bind,src={source},dst={target},options=rbind:{way}"


def command(runtime: nodes.Runtime, name: str, *options: str, arguments: tuple[str, ...]) -> list[str]:
    """Of containerd's client: a privileged container on the host's network, with the image's PATH."""
    usual = ("--rm", "--privileged", "--net-host", f"--env=PATH={manifests.PATH}", f"--env=NODE_NAME={NODE}")
    return [*runtime.ctr, "run", *usual, *options, "--rootfs", str(runtime.rootfs), name, *arguments]


@contextlib.contextmanager
def device_plugin(
    runtime: nodes.Runtime, config: pathlib.Path, log: pathlib.Path, entry: Sequence[str] = OURS
) -> Iterator[subprocess.Popen[bytes]]:
    for folder in SAME:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    options = ["--read-only", mounted(config, "/etc/pcidp", "ro"), *(mounted(each, each) for each in SAME)]
    started = (*entry, *ARGUMENTS)
    with log.open("wb") as out:
        run = command(runtime, "operators-plugin", *options, arguments=started)
        process = subprocess.Popen(run, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        subprocess.run([*runtime.ctr, "task", "kill", "operators-plugin"], check=False, capture_output=True)
        process.wait(30)


def test_pods_come_and_go_while_the_nodes_key_comes_late_and_changes(
    runtime: nodes.Runtime, node: nodes.Node, tmp_path: pathlib.Path
) -> None:
    """Missing at first, empty, wrong, right; then wrong and without a resource while a pod has a VF.

    The pod keeps it, and nobody else gets it, while another image takes the place of this one, and this one again.
    """
    volume = config_maps.ConfigMapVolume(tmp_path / "pcidp", NODE)
    log = tmp_path / "log"

    def told(text: str) -> None:
        benches.until(lambda: text in log.read_text())

    def offered(count: int) -> None:
        node.ask_kubelet(do="wait", resource=RESOURCE, devices=count, timeout=60)

    with (
        node.kubelet(),
        test_confinement.serving(node) as failed,
        contextlib.ExitStack() as plugin,
        namespaces.made("red") as pod,
    ):
        assert failed == ""
        process = plugin.enter_context(device_plugin(runtime, volume.path.parent, log))
        told("waiting for a configuration; nothing is advertised")
        volume.publish("")
        told("nothing is advertised: /etc/pcidp/node-1 is not JSON")
        volume.publish(CONFIG)
        offered(14)
        node.ask_kubelet(do="allocate", pod="red", resource=RESOURCE, count=1)
        with test_confinement.attached(node, pod) as error:
            assert error == ""
            volume.publish("{")
            told("keeping the previous configuration")
            offered(14)
            volume.publish('{"resourceList":null}')
            offered(0)
            volume.publish(CONFIG)
            for entry in (ANOTHER, OURS):
                plugin.close()
                assert process.returncode == 0
                process = plugin.enter_context(device_plugin(runtime, volume.path.parent, log, entry))
                offered(14)
                others = node.ask_kubelet(do="allocate", pod="blue", resource=RESOURCE, count=13)["envs"]
                assert test_confinement.VF not in others["PCIDEVICE_OPENSHIFT_IO_RAIL_A"].split(",")
                node.ask_kubelet(do="free", pod="blue")
        node.ask_kubelet(do="free", pod="red")
        offered(14)
        assert process.poll() is None
    assert process.returncode == 0


def install(runtime: nodes.Runtime, target: str, place: pathlib.Path) -> None:
    """Run the init container to its end."""
    options = (mounted(place, "/host/opt/cni/bin"), mounted("/etc/os-release", "/host/etc/os-release", "ro"))
    arguments = (*test_containerfile.TARGETS[target], "--no-sleep")
    run = command(runtime, f"operators-{target}", *options, arguments=arguments)
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("target", "plugin"), [("cni", "sriov"), ("ib-cni", "ib-sriov")])
def test_an_init_container_puts_the_shim_there_and_ends(runtime: nodes.Runtime, target: str, plugin: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        (place / plugin).write_bytes(INCUMBENT)
        for _ in range(2):
            install(runtime, target, place)
            assert (place / plugin).read_bytes() == (nodes.CNI / "sriov").read_bytes(), "of one name or the other"
            assert (place / f"{plugin}.before-sriov-underlay").read_bytes() == INCUMBENT


def test_a_pod_is_held_while_the_shim_goes_and_its_vf_comes_home(runtime: nodes.Runtime, node: nodes.Node) -> None:
    """The way there and back: sriov-cni's binary, the shim over it, and that binary again while a pod has a VF."""
    shim, kept = nodes.CNI / "sriov", nodes.CNI / "sriov.before-sriov-underlay"
    network = test_confinement.network(node, ipam=None)
    try:
        with test_confinement.serving(node) as failed:
            assert failed == ""
            shim.write_bytes(INCUMBENT)
            install(runtime, "cni", nodes.CNI)
            with namespaces.made("red") as pod:
                node.cni("ADD", network, "c1", pod.path, test_confinement.ARGS)
                shim.write_bytes(INCUMBENT)
                subprocess.run(["ip", "netns", "exec", pod.name, "ip", "link", "show", "net1"], check=True)
                assert records() == [test_confinement.VF]
            benches.until(lambda: records() == [])
            assert igb.TREE.netdev(devices.pci_address(test_confinement.VF)) is not None
    finally:
        install(runtime, "cni", nodes.CNI)
        kept.unlink(missing_ok=True)


def records() -> list[str]:
    """The VFs that pods hold, by the ledger."""
    return [each.pci for each in ledger.Ledger(nodes.RUN).records()]
