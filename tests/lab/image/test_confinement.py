"""Each container has what the DaemonSet declares and no more, and needs all of it: less one, and this breaks."""

import contextlib
import json
import pathlib
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest

from hack.story import node as story
from sriov import devices, settings
from sriov.state import ledger
from tests.fakes import pod_resources
from tests.kernel import namespaces
from tests.lab import igb
from tests.lab.image import nodes
from tests.lab.runtimes import benches

VF = "0000:01:10.0"
RESOURCE = "intel.com/sriov_vf"
ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=red"
PREDECESSOR = pathlib.Path("/var/lib/cni/sriov")
DEVICE_INFO = pathlib.Path("/var/run/k8s.cni.cncf.io/devinfo/dp")
TOLD_WITHIN = 13
"""Seconds from a device plugin's registration until it says that a VF was left behind before its start: it waits ten
from its first look. One that is left behind later is seen at the next look, up to half a minute after."""
_LEVEL = "the log level is now debug"
_BITS = {"NET_ADMIN": 12, "NET_RAW": 13, "SYS_ADMIN": 21}  # include/uapi/linux/capability.h
_IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.58.0.0/24"}], [{"subnet": "fd00:58::/64"}]]}

Check = Callable[[nodes.Node, namespaces.Namespace], str]
"""Tries one thing; "" where it works, else what is wrong."""


def attaches(node: nodes.Node, pod: namespaces.Namespace) -> str:
    with attached(node, pod) as error:
        return error


def advertises(node: nodes.Node, pod: namespaces.Namespace) -> str:
    """Whether the kernel was asked to tell the neighbours of the pod's IPv6 address."""
    with attached(node, pod) as error:
        if error:
            return error
        read = ["ip", "netns", "exec", pod.name, "cat", "/proc/sys/net/ipv6/conf/net1/ndisc_notify"]
        told = subprocess.run(read, check=True, capture_output=True, text=True).stdout.strip()
        return "" if told == "1" else f"ndisc_notify is {told}"


def asks_the_kubelet(node: nodes.Node, pod: namespaces.Namespace) -> str:
    api = pod_resources.PodResources({("default", "red"): [[(RESOURCE, [VF])]]})
    asked = {"deviceID": None, "resourceName": RESOURCE}
    with (
        pod_resources.serving(nodes.KUBELET / "pod-resources/kubelet.sock", api),
        attached(node, pod, **asked) as error,
    ):
        return error


def keeps_to_the_policy(node: nodes.Node, pod: namespaces.Namespace) -> str:
    policy = node.file("policy", "policy.json")
    policy.write_text('{"rules": [{"vlans": ["100"]}]}')
    try:
        with attached(node, pod, vlan=200) as error:
            return "" if "policy" in error else f"VLAN 200 is attached {error}"
    finally:
        policy.unlink()


def takes_over(node: nodes.Node, pod: namespaces.Namespace) -> str:
    """A DEL of a pod that sriov-cni attached: it came home already, and only the records are left."""
    netdev = igb.TREE.netdev(devices.pci_address(VF))
    assert netdev is not None
    was = {"HostIFName": netdev.name, "EffectiveMAC": netdev.address, "MTU": netdev.mtu}
    records = (PREDECESSOR / "old-net1", PREDECESSOR / "pci" / VF)
    records[1].parent.mkdir(parents=True, exist_ok=True)
    records[0].write_text(json.dumps({"name": "n1", "deviceID": VF, "OrigVfState": was}))
    records[1].write_text(pod.path)
    try:
        node.cni("DEL", network(node), "old", pod.path)
        return " ".join(str(path) for path in records if path.exists())
    finally:
        for path in records:
            path.unlink(missing_ok=True)


def counts(node: nodes.Node, pod: namespaces.Namespace) -> str:
    """Whether what went through the VF is told with the pod's name, once the daemon has seen that the pod has it."""
    with attached(node, pod) as error:
        if error:
            return error
        benches.until(lambda: re.search(r'^sriov_vf_attached\{.*pod="red"', scraped(node), re.MULTILINE))
        counted = re.search(r'^sriov_vf_transmit_packets_total\{.*pod="red"', scraped(node), re.MULTILINE)
        return "" if counted else " ".join(re.findall(r"^sriov_vf_counters_unreadable .*", scraped(node), re.MULTILINE))


def scraped(node: nodes.Node) -> str:
    return nodes.asked(node.pod.containers["cni-daemon"].probe.replace("/healthz", "/metrics"))


def follows_the_annotation(node: nodes.Node, _pod: namespaces.Namespace) -> str:
    """The kubelet writes what the pod is annotated with."""
    before = node.said("cni-daemon").count(_LEVEL)
    node.file("podinfo", "log-level").write_text("debug")
    try:
        followed = namespaces.until(lambda: node.said("cni-daemon").count(_LEVEL) > before, 10)
        return "" if followed else "the level is kept"
    finally:
        node.file("podinfo", "log-level").write_text("")


CNI_CHECKS: tuple[Check, ...] = (
    *(attaches, advertises, asks_the_kubelet, keeps_to_the_policy, takes_over, counts),
    follows_the_annotation,
)


def holds_what_is_declared(node: nodes.Node, name: str) -> None:
    declared = node.pod.containers[name]
    found = node.process(name)
    mask = sum(1 << _BITS[capability] for capability in declared.capabilities)
    held = {kind: int(found.status[kind], 16) for kind in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")}
    assert held == {"CapBnd": mask, "CapEff": mask, "CapPrm": mask, "CapInh": 0, "CapAmb": 0}
    assert (found.status["NoNewPrivs"], found.status["Seccomp"]) == ("1", "2")
    # /var/run is a link in the image. hosts and resolv.conf are every container's in the host's network.
    wanted = {each.target.replace("/var/run/", "/run/"): "ro" if each.read_only else "rw" for each in declared.mounts}
    usual = re.compile(r"/(proc|sys|dev)(/.*)?$|/etc/(hosts|resolv.conf)$|/run/netns/.+")
    assert {target: way for target, way in found.mounts.items() if not usual.match(target)} == {"/": "ro"} | wanted
    assert found.following & set(wanted) == {each.target for each in declared.mounts if each.follows}


def test_the_cni_daemon_has_what_is_declared_and_no_more_and_does_its_work_with_it(node: nodes.Node) -> None:
    with serving(node) as failed, namespaces.made("red") as pod:
        assert failed == ""
        holds_what_is_declared(node, "cni-daemon")
        assert {check.__name__: check(node, pod) for check in CNI_CHECKS} == {
            check.__name__: "" for check in CNI_CHECKS
        }
        assert pod.path in node.process("cni-daemon").mounts, "it was mounted on the node after the start"


@pytest.mark.parametrize(
    ("lost", "check", "says"),
    [
        ("NET_ADMIN", attaches, "Operation not permitted"),
        ("SYS_ADMIN", attaches, "Operation not permitted"),
        ("NET_RAW", attaches, "Operation not permitted"),
        ("predecessor", takes_over, f"{PREDECESSOR}/old-net1 {PREDECESSOR}/pci/{VF}"),
        ("pod-resources", asks_the_kubelet, "PodResources API .* does not answer"),
        ("net-sysctls", advertises, "ndisc_notify is 0"),
        ("policy", keeps_to_the_policy, "VLAN 200 is attached"),
        ("netns", counts, "sriov_vf_counters_unreadable 1.0"),
        ("podinfo", follows_the_annotation, "the level is kept"),
    ],
)
def test_the_cni_daemon_without(node: nodes.Node, lost: str, check: Check, says: str) -> None:
    with serving(node, lost) as failed, namespaces.made("red") as pod:
        assert failed == ""
        assert re.search(says, check(node, pod)), node.said("cni-daemon")


def test_the_cni_daemon_without_its_run_directory(node: nodes.Node) -> None:
    with serving(node, "run") as failed:
        assert "cannot use the ledger /run/sriov/vfs: Read-only file system" in failed


def test_the_device_plugin_has_what_is_declared_and_no_more_and_does_its_work_with_it(node: nodes.Node) -> None:
    with left_behind(), advertising(node):
        node.ask_kubelet(do="wait", resource=RESOURCE, devices=14, timeout=60)
        holds_what_is_declared(node, "device-plugin")
        assert allocate(node)
        node.ask_kubelet(do="wait", resource=RESOURCE, devices=13, timeout=TOLD_WITHIN)


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("config", "/etc/pcidp/config.json cannot be read: No such file or directory"),
        ("device-plugins", "there is no kubelet at /var/lib/kubelet/device-plugins"),
    ],
)
def test_the_device_plugin_without(node: nodes.Node, lost: str, says: str) -> None:
    with advertising(node, lost):
        benches.until(lambda: says in node.said("device-plugin"))


def test_the_device_plugin_without_the_folder_that_multus_reads(node: nodes.Node) -> None:
    with advertising(node, "device-info"):
        node.ask_kubelet(do="wait", resource=RESOURCE, devices=14, timeout=60)
        assert not allocate(node)
        assert "Multus will not report the device: Read-only file system" in node.said("device-plugin")


def test_the_device_plugin_without_the_ledger(node: nodes.Node) -> None:
    """It hands out what a pod has left behind: nothing tells it."""
    with left_behind(), advertising(node, "run"):
        node.ask_kubelet(do="wait", resource=RESOURCE, devices=14, timeout=60)
        with pytest.raises(story.StoryError, match="TimeoutError"):
            node.ask_kubelet(do="wait", resource=RESOURCE, devices=13, timeout=TOLD_WITHIN)


def test_the_init_container_without_the_runtimes_folder(node: nodes.Node) -> None:
    with node.running("install-shim", "cni-bin") as installing:
        assert installing.wait(60) != 0
    assert "/host/cni/bin" in node.said("install-shim")


def network(node: nodes.Node, **keys: object) -> dict[str, object]:
    """Keys that are None are left out."""
    usual = {"cniVersion": "1.0.0", "name": "n1", "type": "sriov", "deviceID": VF, "vlan": 100}
    asked = usual | {"ipam": _IPAM | {"dataDir": node.addresses}} | keys
    return {key: value for key, value in asked.items() if value is not None}


@contextlib.contextmanager
def attached(node: nodes.Node, pod: namespaces.Namespace, **keys: object) -> Iterator[str]:
    """ADD, and DEL in the end; gives what the ADD complained of."""
    error = ""
    try:
        node.cni("ADD", network(node, **keys), "c1", pod.path, ARGS)
    except story.StoryError as refused:
        error = str(refused)
    try:
        yield error
    finally:
        # What could not attach may not be able to detach either. Then the next daemon finishes it.
        with contextlib.suppress(story.StoryError) if error else contextlib.nullcontext():
            node.cni("DEL", network(node, **keys), "c1", pod.path, ARGS)


@contextlib.contextmanager
def serving(node: nodes.Node, lost: str = "") -> Iterator[str]:
    """The CNI daemon, once it listens; or what it said as it failed."""
    socket = nodes.RUN / "cni.sock"
    with node.running("cni-daemon", lost, "--counters-interval=1") as process:
        benches.until(lambda: socket.exists() or process.poll() is not None)
        yield node.said("cni-daemon") if process.poll() is not None else ""


@contextlib.contextmanager
def advertising(node: nodes.Node, lost: str = "") -> Iterator[None]:
    """The device plugin, with the ConfigMap as it is declared."""
    node.restore_config()
    with node.kubelet(), node.running("device-plugin", lost):
        yield


@contextlib.contextmanager
def left_behind() -> Iterator[None]:
    """The ledger says that a pod has a VF which is at home."""
    book = ledger.Ledger(nodes.RUN)
    book.create()
    owner = ledger.Owner(container_id="gone", ifname="net1", network="n1", netns="")
    pci = devices.pci_address(VF)
    book.write(ledger.Record(pci=pci, owner=owner, netns=(0, 0), home=None, wanted=settings.BASELINE, mtu=1500))
    try:
        yield
    finally:
        book.remove(pci)


def allocate(node: nodes.Node) -> list[pathlib.Path]:
    """Hands a device to a pod and takes it back; what Multus would read of it."""
    node.ask_kubelet(do="allocate", pod="red", resource=RESOURCE, count=1)
    node.ask_kubelet(do="free", pod="red")
    found = list(DEVICE_INFO.iterdir())
    for path in found:
        path.unlink()
    return found
