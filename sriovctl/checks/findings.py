"""Findings of `doctor`: for each Kind its name for scripts, its severity, and its remedy.

A kind is never renamed: scripts and alerts match on it. docs/sriovctl.md lists all of them.
"""

import enum

import msgspec


class Severity(enum.Enum):
    """error: pods do not get their VF, or get it wrong; warning: they may; info: worth knowing, nothing is wrong."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Kind(enum.Enum):
    """Kind of a finding. The value is its name, its severity and its remedy."""

    NO_PF = ("no-pf", Severity.ERROR, "switch SR-IOV on in firmware setup and in the NIC's own; is the driver loaded?")
    NO_VFS = ("no-vfs", Severity.WARNING, "make VFs: write a number to the PF's sriov_numvfs, or `sriovctl provision`")
    PF_DOWN = ("pf-down", Severity.ERROR, "ip link set PF up, and see that it stays so after a reboot")
    PF_NO_CARRIER = ("pf-no-carrier", Severity.WARNING, "look at cable, transceiver and the switch's port")
    PF_NO_DRIVER = ("pf-no-driver", Severity.ERROR, "load the PF's driver")
    VF_NO_DRIVER = ("vf-no-driver", Severity.WARNING, "bind it: echo PCI > /sys/bus/pci/drivers_probe")
    AUTOPROBE_OFF = ("autoprobe-off", Severity.INFO, "nothing, if VFs are bound by hand; else write 1 to the attribute")
    SWITCHDEV = ("switchdev", Severity.WARNING, "use legacy mode for VFs whose VLAN, trust or spoofchk the CNI sets")
    MANY_VFS = ("many-vfs", Severity.INFO, "do not script `ip link show`: it is slow here and may be cut off")
    HOST_TRAFFIC = ("host-traffic", Severity.WARNING, "take the address or route off the VF: it is not offered to pods")

    IOMMU_OFF = ("iommu-off", Severity.INFO, "for vfio-pci boot with intel_iommu=on iommu=pt (AMD: iommu=pt)")
    IOMMU_MISSING = ("iommu-missing", Severity.ERROR, "boot with intel_iommu=on iommu=pt, or bind the network driver")
    IOMMU_UNSAFE = ("iommu-unsafe", Severity.WARNING, "such a VF may write any memory of the host: use an IOMMU")
    IOMMU_SHARED = ("iommu-shared", Severity.WARNING, "use a slot whose bridges have ACS: all of a group go together")
    ACS_REDIRECT = ("acs-redirect", Severity.WARNING, "with no untrusted VM below it: setpci its ACS redirect bits off")

    KERNEL_NO_PARENT = ("kernel-no-parent", Severity.WARNING, "use Linux 5.14 or newer")
    KERNEL_NO_NSID = ("kernel-no-nsid", Severity.WARNING, "use Linux 4.20 or newer")
    DRIVER_FAULT = ("driver-fault", Severity.INFO, "nothing: the CNI works around it; know it when you debug")
    DRIVER_FOREIGN = ("driver-foreign", Severity.INFO, "name this version when you report a fault of the driver")
    RCU_WAIT = ("rcu-wait", Severity.INFO, "boot with rcutree.jiffies_till_first_fqs=0, or write 0 there")
    SLOW_TICK = ("slow-tick", Severity.INFO, "a kernel with CONFIG_HZ=250 or 1000 lets pods start sooner")

    CONFIG_BAD = ("config-bad", Severity.ERROR, "fix config.json; `sriov-device-plugin --dry-run` shows the effect")
    CONFIG_WARNING = ("config-warning", Severity.WARNING, "fix config.json")
    POOL_EMPTY = ("pool-empty", Severity.WARNING, "compare its selectors with `sriovctl inventory -o wide`")
    POLICY_BAD = ("policy-bad", Severity.ERROR, "fix the policy: a daemon that starts with it refuses every ADD")
    KUBELET_MISSING = (
        "kubelet-missing",
        Severity.ERROR,
        "start the kubelet, or name its directory with --kubelet-root-dir",
    )
    NOT_REGISTERED = ("not-registered", Severity.ERROR, "start the device plugin; its log has the kubelet's reason")
    NO_POD_RESOURCES = (
        "no-pod-resources",
        Severity.WARNING,
        "owners cannot be named, and pods without Multus get no VF",
    )
    DAEMON_DOWN = ("daemon-down", Severity.ERROR, "start the CNI daemon: until then pods wait for their VF")
    DAEMON_TROUBLE = ("daemon-trouble", Severity.ERROR, "the daemon keeps retrying; its log has each trace")
    SERVICES_DOWN = ("services-down", Severity.ERROR, "docs/services.md says what the daemon's proof looks at")
    POLICY_NOT_IN_FORCE = (
        "policy-not-in-force",
        Severity.ERROR,
        "the CNI daemon restores rules within 5 seconds; if it stays so, its log says what the kernel refuses",
    )
    POLICY_CHANGED = (
        "policy-changed",
        Severity.WARNING,
        "its rules were restored; take NET_ADMIN from a pod that is to obey network policies",
    )
    POLICIES_SILENT = (
        "policies-silent",
        Severity.ERROR,
        "start sriov-agent with --policies: pods keep the rules they have, new ones may not start",
    )
    POLICIES_UNKEPT = (
        "policies-unkept",
        Severity.ERROR,
        "start the CNI daemon with --policy-socket: rules stay as they are, and are not restored",
    )
    PLUGIN_MISSING = (
        "plugin-missing",
        Severity.ERROR,
        "install the shim as `sriov` (or `ib-sriov`) where the runtime looks",
    )
    PLUGIN_FOREIGN = (
        "plugin-foreign",
        Severity.ERROR,
        "another plugin is called `sriov` there: put the shim in its place",
    )
    PLUGIN_NOT_EXECUTABLE = ("plugin-not-executable", Severity.ERROR, "chmod 0755 it")
    NETWORK_BAD = ("network-bad", Severity.ERROR, "fix the network configuration: its pods get this error")
    NO_NETWORK = ("no-network", Severity.WARNING, "write a network configuration of type sriov, or install Multus")
    LEFT_BEHIND = ("left-behind", Severity.WARNING, "wait ten seconds; if it stays, see the daemon's log")
    NOT_TAKEN_BACK = (
        "not-taken-back",
        Severity.ERROR,
        "fix what the evidence shows; the daemon keeps retrying, `sriovctl attachments release` retries at once",
    )
    LEDGER_UNREADABLE = (
        "ledger-unreadable",
        Severity.ERROR,
        "run sriovctl as root; is the run directory the daemon's own? until it can be read no owner is known",
    )
    RECORD_DAMAGED = ("record-damaged", Severity.WARNING, "once no pod has the VF, remove the file")
    NETWORK_MANAGER = (
        "networkmanager",
        Severity.WARNING,
        'a udev rule with ENV{NM_UNMANAGED}="1" keeps it off; of VFs it has: nmcli device set NAME managed no',
    )
    NETWORKD = ("networkd", Severity.WARNING, "a .network file that sorts first, matches VFs and has Unmanaged=yes")

    @property
    def title(self) -> str:
        return str(self.value[0])

    @property
    def severity(self) -> Severity:
        found: Severity = self.value[1]
        return found

    @property
    def remedy(self) -> str:
        return str(self.value[2])


class Finding(msgspec.Struct, frozen=True):
    """A finding. `subject` is the thing: a device, a file, a resource; `evidence` is what was seen."""

    kind: Kind
    subject: str
    evidence: str
