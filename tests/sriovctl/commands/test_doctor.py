"""doctor: a node that is in order has no finding; each thing that can be wrong is brought about once, and found.

A kind without its scenario here fails the tests: what nobody has triggered is only believed to work.
"""

import contextlib
import errno
import gzip
import json
import pathlib
import socket
import struct
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from sriov import devices, errors
from sriov.cluster import policies
from sriov.state import daemon_problems, ledger, policy_notes
from sriov_installer import artifacts
from sriovctl.checks import findings
from sriovctl.checks.findings import Kind
from sriovctl.node import pcie
from tests.fakes import policy_source, sysfs_tree
from tests.sriov_cni import harness
from tests.sriov_cni.commands import test_repair
from tests.sriovctl import nodes

PF = devices.pci_address("0000:01:00.0")
SWITCH = "0000:00:01.0/0000:02:00.0"
KEYS = {"finding", "severity", "subject", "evidence", "remedy"}


def acs(control: int) -> bytes:
    """A bridge's configuration space: an AER capability, and ACS behind it."""
    space = bytearray(4096)
    struct.pack_into("<I", space, 0x100, 0x0001 | 1 << 16 | 0x140 << 20)
    struct.pack_into("<IHH", space, 0x140, 0x000D | 1 << 16, 0x5F, control)
    return bytes(space)


class Sick:
    """A node in order, and what the scenarios do to it. `kubelet` is whether one runs."""

    def __init__(self, node: nodes.Node) -> None:
        self.node = node
        self.sys = node.bench.machine.node
        self.folder = node.folder
        self.serves = True
        self.waits = self.noted = False
        self.kubelet = True
        self._stack = contextlib.ExitStack()
        self.sys.set_attribute(PF, "sriov_drivers_autoprobe", 1)
        (self.folder / "bin/sriov").write_bytes(harness.SHIM.read_bytes())
        (self.folder / "bin/sriov").chmod(0o755)
        self.network({})
        self.socket("kubelet.sock")
        self.socket("intel.com_rail_a.sock")
        self.kernel("6.12.1", "CONFIG_HZ=1000\n")
        for number, vf in enumerate((PF, *node.bench.vfs)):
            self.group(vf, number)
        node.give("web")

    def socket(self, name: str) -> None:
        made = self._stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
        made.bind(str(self.folder / "kubelet/device-plugins" / name))

    def group(self, pci: str, number: int, name: str | None = None) -> None:
        self.sys.set_iommu_group(devices.pci_address(pci), number, name)
        members = self.folder / f"sys/kernel/iommu_groups/{number}/devices"
        members.mkdir(exist_ok=True)
        (members / pci).touch()

    def kernel(self, release: str, config: str) -> None:
        (self.folder / "proc/sys/kernel").mkdir(parents=True, exist_ok=True)
        (self.folder / "proc/sys/kernel/osrelease").write_text(f"{release}\n")
        (self.folder / "proc/config.gz").write_bytes(gzip.compress(config.encode()))

    def network(self, keys: dict[str, object]) -> None:
        text = json.dumps({"cniVersion": "1.0.0", "name": "n", "type": "sriov", "resourceName": "a/b", **keys})
        (self.folder / "net.d/10-sriov.conf").write_text(text)

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def gpu_and_nic(self, control: int) -> None:
        """A GPU and a PF on two ports of one switch."""
        model = sysfs_tree.Model(totalvfs=1)
        nic = self.sys.add_pf("0000:03:00.0", None, model, 0, f"{SWITCH}/0000:02:01.0")
        self.sys.set_attribute(nic, "sriov_drivers_autoprobe", 1)
        root = self.folder / "sys/devices/pci0000:00"
        for bridge in ("0000:00:01.0", SWITCH, f"{SWITCH}/0000:02:01.0", f"{SWITCH}/0000:02:02.0"):
            self.function(root / bridge, "0x060400")
        self.function(root / SWITCH / "0000:02:02.0/0000:04:00.0", "0x030200")
        (root / SWITCH / "0000:02:02.0/config").write_bytes(acs(control))

    def function(self, folder: pathlib.Path, pci_class: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "class").write_text(f"{pci_class}\n")
        link = self.folder / "sys/bus/pci/devices" / folder.name
        link.symlink_to(f"../../../{folder.relative_to(self.folder / 'sys')}")

    def found(self) -> dict[str, dict[str, str]]:
        """By kind; the last of each."""
        with contextlib.ExitStack() as stack:
            if self.serves:
                stack.enter_context(self.node.serving())
                while self.waits and not daemon_problems.Trouble(self.folder / "run").read():
                    time.sleep(0.05)
                while self.noted and policy_notes.NoteFile(self.folder / "run").read() is None:
                    time.sleep(0.05)
            if self.kubelet:
                stack.enter_context(self.node.kubelet())
            ran = self.node.run("doctor", "--all", "-o", "json")
        listed = ran.document["items"]
        assert all(set(each) == KEYS for each in listed)
        assert ran.status == (1 if any(each["severity"] == "error" for each in listed) else 0)
        return {each["finding"]: each for each in listed}

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def sick(node: nodes.Node) -> Iterator[Sick]:
    made = Sick(node)
    yield made
    made.close()


def attach(sick: Sick) -> ledger.Record:
    with sick.node.serving():
        assert sick.node.cni("ADD").code == 0
    record = sick.node.bench.book.read(devices.pci_address(sick.node.vf))
    assert record is not None
    return record


def no_pf(sick: Sick) -> None:
    for pci in (*sick.node.bench.vfs, PF):
        sick.sys.remove(devices.pci_address(pci))


def left_behind(sick: Sick) -> None:
    attach(sick)
    sick.node.bench.machine.destroy("pod")
    sick.serves = False  # a daemon would repair it


def damaged(sick: Sick) -> None:
    attach(sick)
    sick.write(f"run/vfs/{sick.node.vf}.json", "{")
    sick.serves = False


def not_taken_back(sick: Sick) -> None:
    """Its DEL fails while it is in the pod."""
    record = attach(sick)
    sick.node.bench.book.write(msgspec.structs.replace(record, problem="the kernel refused to move link 7"))


def no_ledger(sick: Sick) -> None:
    sick.serves = False
    (sick.folder / "run/vfs").rmdir()
    sick.write("run/vfs", "")


class Untranslated(test_repair.Pods):
    def problems(self) -> list[str]:
        return ["programs for Services are attached but do not run: connect4"]


def repair_fails(sick: Sick) -> None:
    """What cannot be read is no ledger: a running daemon says so."""
    (sick.folder / "run/vfs/0000:ff:00.0.json").mkdir()
    sick.waits = True


def nothing_is_translated(sick: Sick) -> None:
    sick.node.translation = Untranslated()
    sick.waits = True


def held(sick: Sick) -> policy_notes.PolicyNote:
    """Pod web is held to policies; returns what a daemon notes that has put others in force."""
    rules = policies.Rules(("none",))
    sick.node.put_policies(
        policies.PolicyTable({}, {"none": policies.Grant("default/none")}, {("default", "web", ""): rules})
    )
    with sick.node.serving():
        assert sick.node.cni("ADD", policy="kubernetes").code == 0
    (sick.folder / "run/policies.json").unlink(missing_ok=True)
    sick.noted = True
    [record] = sick.node.bench.book.records()
    return policy_notes.PolicyNote(
        namespace="default", pod="web", interface="net1", netns=record.netns, digest="0123456789abcdef"
    )


def others_in_force(sick: Sick) -> None:
    sick.node.enforcement = policy_source.NotedEnforcement(held(sick))


def changed_by_a_pod(sick: Sick) -> None:
    note = msgspec.structs.replace(held(sick), digest=None, repairs=3, repaired=86400.0)
    sick.node.enforcement = policy_source.NotedEnforcement(note)


def without_an_agent(sick: Sick) -> None:
    sick.node.policies = policy_source.TableSource(quiet=90.0)
    sick.noted = True


def unkept(sick: Sick) -> None:
    held(sick)
    sick.node.policies, sick.noted = None, False


def without_a_registration(sick: Sick) -> None:
    sick.node.api.known.clear()


def without_pod_resources(sick: Sick) -> None:
    sick.kubelet = False


def without_a_daemon(sick: Sick) -> None:
    sick.serves = False


def many(sick: Sick) -> None:
    sick.sys.set_numvfs(devices.pci_address(PF), 200)


def vfio_without_a_group(sick: Sick) -> None:
    sick.sys.set_driver(devices.pci_address(sick.node.vf), "vfio-pci")
    (sick.folder / "sys/bus/pci/devices" / sick.node.vf / "iommu_group").unlink()


def no_groups(sick: Sick) -> None:
    for pci in (PF, *sick.node.bench.vfs):
        (sick.folder / "sys/bus/pci/devices" / pci / "iommu_group").unlink()
    for folder in (sick.folder / "sys/kernel/iommu_groups").iterdir():
        folder.rename(sick.folder / f"gone-{folder.name}")


def representors(sick: Sick) -> None:
    sick.sys.set_attribute(PF, "net/enp1s0/phys_switch_id", "1")
    folder = sick.folder / "sys/bus/pci/devices" / PF / "net/enp1s0_0"
    folder.mkdir()
    (folder / "phys_port_name").write_text("pf0vf0\n")


def networkd(sick: Sick) -> None:
    (sick.folder / "somerun/systemd/netif").mkdir(parents=True)
    sick.write("etc/systemd/network/80-all.network", "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n")


def ours(sick: Sick, name: str) -> None:
    """A file of ours where the installer puts it."""
    etc = sick.folder / "etc"
    installed = artifacts.provisioning(etc, etc / "udev/rules.d", etc / "systemd/network", etc)
    wanted = next(each for each in installed if each.path.name == name)
    sick.write(str(wanted.path.relative_to(sick.folder)), wanted.content.decode())


def set_pf(name: str, value: object) -> Callable[[Sick], None]:
    return lambda sick: sick.sys.set_attribute(PF, name, value)


SCENARIOS: dict[Kind, tuple[Callable[[Sick], object], str]] = {
    Kind.NO_PF: (no_pf, "sriov_totalvfs"),
    Kind.NO_VFS: (lambda sick: sick.sys.set_numvfs(PF, 0), "sriov_numvfs is 0"),
    Kind.PF_DOWN: (set_pf("net/enp1s0/flags", "0x1002"), "is down"),
    Kind.PF_NO_CARRIER: (set_pf("net/enp1s0/carrier", 0), "no carrier"),
    Kind.PF_NO_DRIVER: (lambda sick: sick.sys.set_driver(PF, None), "bound to no driver"),
    Kind.VF_NO_DRIVER: (lambda sick: sick.node.bench.machine.unbind(sick.node.bench.vfs[0]), "VF 0 of enp1s0"),
    Kind.AUTOPROBE_OFF: (set_pf("sriov_drivers_autoprobe", 0), "sriov_drivers_autoprobe is 0"),
    Kind.SWITCHDEV: (representors, "1 representors"),
    Kind.MANY_VFS: (many, "200 VFs"),
    Kind.HOST_TRAFFIC: (lambda sick: sick.node.proc.route("enp1s0v0", "10.0.0.0/8"), "enp1s0v0 has an address"),
    Kind.IOMMU_OFF: (no_groups, "no IOMMU groups"),
    Kind.IOMMU_MISSING: (vfio_without_a_group, "bound to vfio-pci"),
    Kind.IOMMU_UNSAFE: (lambda sick: sick.group(sick.node.vf, 9, "vfio-noiommu"), "no-IOMMU"),
    Kind.IOMMU_SHARED: (lambda sick: sick.group(sick.node.bench.vfs[1], 1), "also holds"),
    Kind.ACS_REDIRECT: (lambda sick: sick.gpu_and_nic(0x1D), "GPU 0000:04:00.0 and NIC 0000:03:00.0"),
    Kind.KERNEL_NO_PARENT: (lambda sick: sick.kernel("5.10.0-8", "CONFIG_HZ=1000\n"), "Linux 5.10.0-8"),
    Kind.KERNEL_NO_NSID: (lambda sick: sick.kernel("4.18.0-553.el8", "CONFIG_HZ=1000\n"), "Linux 4.18.0"),
    Kind.DRIVER_FAULT: (lambda _: None, "igb"),
    Kind.DRIVER_FOREIGN: (lambda sick: sick.write("sys/module/igbvf/version", "5.1\n"), "version 5.1"),
    Kind.RCU_WAIT: (
        lambda sick: sick.write("sys/module/rcutree/parameters/jiffies_till_first_fqs", "3\n"),
        "3 ms at CONFIG_HZ=1000",
    ),
    Kind.SLOW_TICK: (lambda sick: sick.kernel("6.12.1", "CONFIG_HZ=100\n"), "CONFIG_HZ=100"),
    Kind.CONFIG_BAD: (lambda sick: sick.write("config.json", "{"), "is not JSON"),
    Kind.CONFIG_WARNING: (lambda sick: sick.node.configure([{**nodes.CONFIG[0], "odd": 1}]), "odd"),
    Kind.POOL_EMPTY: (
        lambda sick: sick.node.configure([{"resourceName": "x", "selectors": {"vendors": ["dead"]}}]),
        "no device of this node",
    ),
    Kind.POLICY_BAD: (lambda sick: sick.write("policy.json", "{}"), "cannot be used"),
    Kind.KUBELET_MISSING: (
        lambda sick: (sick.folder / "kubelet/device-plugins/kubelet.sock").unlink(),
        "there is no socket",
    ),
    Kind.NOT_REGISTERED: (without_a_registration, "the kubelet does not know it"),
    Kind.NO_POD_RESOURCES: (without_pod_resources, "there is no"),
    Kind.DAEMON_DOWN: (without_a_daemon, "it is not running"),
    Kind.DAEMON_TROUBLE: (repair_fails, "repair: failed"),
    Kind.SERVICES_DOWN: (nothing_is_translated, "attached but do not run"),
    Kind.POLICY_NOT_IN_FORCE: (others_in_force, "the CNI daemon has put other rules in force, as of 20"),
    Kind.POLICY_CHANGED: (changed_by_a_pod, "3 times since the daemon's start, last at 1970-01-02T00:00:00Z"),
    Kind.POLICIES_SILENT: (without_an_agent, "no agent has been connected since 20"),
    Kind.POLICIES_UNKEPT: (unkept, "as default/web net1 is, and no daemon keeps them"),
    Kind.PLUGIN_MISSING: (lambda sick: (sick.folder / "bin/sriov").unlink(), "not there"),
    Kind.PLUGIN_FOREIGN: (lambda sick: sick.write("bin/sriov", "\x7fELF"), "another CNI plugin"),
    Kind.PLUGIN_NOT_EXECUTABLE: (lambda sick: (sick.folder / "bin/sriov").chmod(0o644), "it is not executable"),
    Kind.NETWORK_BAD: (lambda sick: sick.network({"vlan": 5000}), "vlan id 5000 invalid"),
    Kind.NO_NETWORK: (lambda sick: (sick.folder / "net.d/10-sriov.conf").unlink(), "no file there"),
    Kind.LEFT_BEHIND: (left_behind, "not clean yet"),
    Kind.NOT_TAKEN_BACK: (not_taken_back, "from container web-sandbox as net1: the kernel refused to move link 7"),
    Kind.LEDGER_UNREADABLE: (no_ledger, "cannot list"),
    Kind.RECORD_DAMAGED: (damaged, "not a readable record"),
    Kind.NETWORK_MANAGER: (lambda sick: (sick.folder / "somerun/NetworkManager").mkdir(), "keep it off"),
    Kind.NETWORKD: (networkd, "80-all.network"),
}

ALWAYS = {Kind.DRIVER_FAULT.title}
"""igb and igbvf have theirs on every node."""


def test_a_node_that_is_in_order(sick: Sick) -> None:
    assert set(sick.found()) == ALWAYS
    with sick.node.serving(), sick.node.kubelet():
        ran = sick.node.run("doctor")
    assert (ran.status, ran.out, ran.err) == (0, "nothing is wrong\n", "")


def test_a_resource_that_is_published_for_claims_needs_no_socket(sick: Sick) -> None:
    sick.node.configure([{**entry, "publish": "dra"} for entry in nodes.CONFIG])
    for each in (sick.folder / "kubelet/device-plugins").glob("intel.com_*"):
        each.unlink()
    assert set(sick.found()) == ALWAYS


def test_the_shim_of_infiniband_may_be_the_only_one_and_is_looked_at(sick: Sick) -> None:
    """ib-sriov-cni in its place is none of ours, and no finding."""
    sick.write("bin/ib-sriov", "\x7fELF")
    assert set(sick.found()) == ALWAYS
    shim = sick.folder / "bin/ib-sriov"
    (sick.folder / "bin/sriov").rename(shim)
    assert set(sick.found()) == ALWAYS
    shim.chmod(0o644)
    found = sick.found()
    assert set(found) == {*ALWAYS, Kind.PLUGIN_NOT_EXECUTABLE.title}
    assert found[Kind.PLUGIN_NOT_EXECUTABLE.title]["subject"] == str(shim)
    sick.write("bin/sriov", "\x7fELF")
    assert Kind.PLUGIN_FOREIGN.title in sick.found(), "networks of type sriov go there"


@pytest.mark.slow
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.title)
def test_every_finding_is_found(sick: Sick, kind: Kind) -> None:
    happens, evidence = SCENARIOS[kind]
    if kind.title not in ALWAYS:
        assert kind.title not in sick.found()
    happens(sick)
    found = sick.found()[kind.title]
    assert evidence in found["evidence"], found
    assert (found["severity"], found["remedy"]) == (kind.severity.value, kind.remedy)
    assert found["subject"]


def test_a_virtual_machine_that_was_given_a_vf_has_no_pf_and_needs_none(sick: Sick) -> None:
    no_pf(sick)
    assert Kind.NO_PF.title in sick.found()
    sick.node.bench.machine.add_vf_without_pf("0000:00:05.0", "ens5")
    assert Kind.NO_PF.title not in sick.found()


def test_the_worst_comes_first(sick: Sick) -> None:
    (sick.folder / "somerun/NetworkManager").mkdir()
    sick.serves = False
    assert [each["severity"] for each in sick.found().values()] == ["error", "warning", "info"]


def test_managers_that_were_told_are_no_finding(sick: Sick) -> None:
    (sick.folder / "somerun/NetworkManager").mkdir()
    sick.write("etc/udev/rules.d/10-vfs.rules", 'ATTRS{device}=="0x10ca", ENV{NM_UNMANAGED}="1"\n')
    networkd(sick)
    sick.write("etc/systemd/network/10-vfs.network", "[Match]\nName=enp1s0v*\n\n[Link]\nUnmanaged=yes\n")
    assert set(sick.found()) == ALWAYS
    sick.write("etc/udev/rules.d/10-vfs.rules", '# ENV{NM_UNMANAGED}="1"\n')
    assert set(sick.found()) == {*ALWAYS, Kind.NETWORK_MANAGER.title}, "a comment keeps nobody off"


def test_networkmanager_keeps_the_vfs_that_it_had_before_it_was_told(sick: Sick) -> None:
    ours(sick, artifacts.RULES)
    netdev = next((sick.folder / "sys/bus/pci/devices" / sick.node.bench.vfs[2] / "net").iterdir())
    note = f"somerun/NetworkManager/devices/{(netdev / 'ifindex').read_text().strip()}"
    sick.write(note, "[device]\nmanaged=true\n")
    assert sick.found()[Kind.NETWORK_MANAGER.title]["evidence"].endswith(f"it has {netdev.name}")
    sick.write(note, "[device]\nmanaged=false\n")
    assert set(sick.found()) == ALWAYS


@pytest.mark.parametrize(
    "match", ["Name=*", "Type=ether", "Kind=!*", "Kind=!*\nType=ether", "Name=enp1s0v*\nType=ether"]
)
def test_our_own_files_keep_networkd_off(sick: Sick, match: str) -> None:
    """The one by what the other tells udev."""
    networkd(sick)
    sick.write("etc/systemd/network/80-all.network", f"[Match]\n{match}\n\n[Network]\nDHCP=yes\n")
    ours(sick, artifacts.NETWORK)
    assert set(sick.found()) == {*ALWAYS, Kind.NETWORKD.title}
    ours(sick, artifacts.RULES)
    assert set(sick.found()) == ALWAYS


@pytest.mark.parametrize("match", ["Driver=igbvf", "Type=wlan", "Name=wl*\nType=ether", "Path=*\nName=*"])
def test_files_of_networkd_for_other_links_are_no_finding(sick: Sick, match: str) -> None:
    networkd(sick)
    sick.write("etc/systemd/network/80-all.network", f"[Match]\n{match}\n\n[Network]\nDHCP=yes\n")
    assert set(sick.found()) == ALWAYS


def test_a_switch_without_redirection_is_no_finding(sick: Sick) -> None:
    sick.gpu_and_nic(0x11)
    assert Kind.ACS_REDIRECT.title not in sick.found()


@pytest.mark.parametrize("space", [b"", bytes(64), bytes(4096), b"\xff" * 4096, acs(0x0C)[:0x144]])
def test_a_configuration_space_that_is_cut_or_odd_redirects_nothing(space: bytes) -> None:
    assert not pcie.redirects(space)


def test_names_are_unlike() -> None:
    assert len({kind.title for kind in findings.Kind}) == len(findings.Kind)


@pytest.mark.slow
def test_what_the_kernel_refuses_of_a_policy_is_one_finding_that_names_the_pod(sick: Sick) -> None:
    problem = "the kernel refused to set rules of nftables"
    note = msgspec.structs.replace(held(sick), problem=problem)
    failure = errors.KernelError("set rules of nftables", errno.ENOMEM)
    sick.node.enforcement = policy_source.NotedEnforcement(note, failure=failure)
    sick.waits = True
    found = sick.found()
    assert found["policy-not-in-force"]["subject"] == "default/web net1"
    assert problem in found["policy-not-in-force"]["evidence"]
    assert "daemon-trouble" not in found


@pytest.mark.slow
def test_what_nothing_can_hold_is_one_finding_that_names_the_pod(sick: Sick) -> None:
    """The daemon's /readyz says it, too."""
    note = msgspec.structs.replace(held(sick), problem="the kernel sees no packet of its VF")
    sick.node.enforcement = policy_source.NotedEnforcement(note)
    sick.waits = True
    found = sick.found()
    assert found["policy-not-in-force"]["subject"] == "default/web net1"
    assert "sees no packet" in found["policy-not-in-force"]["evidence"]
    assert "daemon-trouble" not in found


def test_a_short_silence_of_the_agent_is_no_finding(sick: Sick) -> None:
    sick.node.policies, sick.noted = policy_source.TableSource(quiet=30.0), True
    assert set(sick.found()) == ALWAYS


@pytest.mark.slow
def test_a_policy_that_turned_bad_is_one_finding_with_what_the_daemon_does_about_it(sick: Sick) -> None:
    """The daemon reports its problems every five seconds."""
    sick.write("policy.json", '{"rules": [{"vlans": ["100"]}]}')
    evidence = ""
    with sick.node.serving(), sick.node.kubelet():
        sick.write("policy.json", '{"rules": [{"vlan": ["100"]}]}')
        deadline = time.monotonic() + 20
        while not evidence.endswith("; the last good one stays in force"):
            assert time.monotonic() < deadline, evidence
            found = sick.node.run("doctor", "--output", "json").document["items"]
            [evidence] = [each["evidence"] for each in found if each["finding"] == "policy-bad"]
            time.sleep(0.2)
    assert "daemon-trouble" not in {each["finding"] for each in found}
