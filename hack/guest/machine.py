"""Machine: the guest as a QEMU command line. Pure: its decisions are tested without a boot.

Hardware acceleration only if the CPU has it: /dev/kvm may exist and still not run a stock kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hack.guest import nics
from hack.guest.downloads import parts

# panic=-1 with -no-reboot ends QEMU when the kernel dies; the rest buys seconds under emulation.
KERNEL = (
    "console=ttyS0 loglevel=5 panic=-1 nokaslr mitigations=off random.trust_cpu=1 numa_balancing=disable"
    " init_on_alloc=0 intel_iommu=on iommu=pt"
)

# Quick on a real processor and slow on an emulated one: strings copied and cleared byte by byte, which kernel and libc
# prefer where a processor says that it is good at that, and a fifth level of page tables. Without them, on one CPU, the
# same tests take a fifth less of QEMU's CPU time.
_SLOW = ("erms", "fsrm", "fsrs", "fzrm", "la57")

# Emulated CPUs take turns. With a thread each the same tests take as much CPU time and as long, and in one of some tens
# of guests the kernel has lost its clock ("rcu_preempt kthread starved"), or QEMU has failed an assertion of its own.
_EMULATION = "tcg,thread=single"

# SeaBIOS moves the cards' memory to the end of the address space if there is RAM above 4 GiB and the processor has at
# least 36 bits of addresses (pci_setup() in src/fw/pciinit.c). There the VFs of QEMU's igb reach no PF.
_ADDRESS_BITS = 35
_HOLE = "q35-pcihost.pci-hole64-size=1G"  # 32 GiB otherwise, more than these bits can address
LEAST, MOST = 1 << 30, 24 << 30
"""Bytes of memory that a guest can have."""


def memory_bytes(text: str) -> int:
    """Parse a size as QEMU takes it, such as 2G or 2700M. Raises ValueError with the reason."""
    found = re.fullmatch(r"(\d{1,6})([MG])", text)
    if found is None:
        raise ValueError(f"{text!r} is no size; write it as 2G or 2700M")
    size = int(found[1]) << {"M": 20, "G": 30}[found[2]]
    if not LEAST <= size <= MOST:
        raise ValueError(f"{text} is not between {LEAST >> 30}G and {MOST >> 30}G, the sizes that work")
    return size


@dataclass(frozen=True)
class Machine:
    """Size of a guest and the files of one run: its initramfs, its console's log, the one folder it may write.

    With `terminal` its output port is one, /dev/hvc0 in the guest, which carries keyboard input too. With `network` it
    has a card that reaches what this machine reaches.
    """

    memory: str
    cpus: int
    accelerated: bool
    initrd: Path
    console: Path
    out: Path | None
    terminal: bool = False
    network: bool = False


def accelerated(cpuinfo: str) -> bool:
    """Whether /proc/cpuinfo shows hardware virtualisation (Intel vmx, AMD svm)."""
    return re.search(r"^flags\s*:.*\b(vmx|svm)\b", cpuinfo, re.MULTILINE) is not None


@dataclass(frozen=True)
class Ports:
    """File descriptors of connected stream sockets that QEMU inherits; `monitor` is connected to `orders`."""

    control: int
    output: int
    monitor: int
    orders: int


def arguments(have: parts.Parts, machine: Machine, ports: Ports) -> list[str]:
    """QEMU's arguments. What the guest writes to its port `orders` is QMP, and QEMU itself answers it."""
    processor = ["-accel", "kvm" if machine.accelerated else _EMULATION, "-cpu", _model(machine), "-global", _HOLE]
    return [
        *have.qemu(),
        *(word for folder in have.firmware for word in ("-L", str(folder))),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35", *processor,
        "-device", "intel-iommu,intremap=off",  # a VF has an IOMMU group, so vfio-pci takes it as on real hardware
        *_memory(machine),
        "-kernel", str(have.kernel), "-initrd", str(machine.initrd), "-append", KERNEL,
        "-chardev", f"file,id=console,path={_value(machine.console)}", "-serial", "chardev:console",
        "-device", "virtio-serial-pci,id=ports",
        *_port("virtserialport", 1, "control", ports.control),
        *_port("virtconsole" if machine.terminal else "virtserialport", 2, "output", ports.output),
        *_port("virtserialport", 3, "orders", ports.orders),
        "-chardev", f"socket,id=monitor,fd={ports.monitor}", "-mon", "chardev=monitor,mode=control",
        *_share("root", Path("/"), ",readonly=on"),
        *(_share("out", machine.out) if machine.out else []),
        *nics.arguments(),
        *nics.far_slot(),
        *nics.spare_slots(),
        *(nics.outside() if machine.network else []),
    ]  # fmt: skip


def _model(machine: Machine) -> str:
    if machine.accelerated:
        return f"host,host-phys-bits-limit={_ADDRESS_BITS}"
    return ",".join(["max", f"phys-bits={_ADDRESS_BITS}", *(f"{feature}=off" for feature in _SLOW)])


def _memory(machine: Machine) -> list[str]:
    """Two NUMA nodes. The first has all of the memory; the second the last CPU, without which Linux leaves it out."""
    last = machine.cpus - 1
    return [
        "-m", machine.memory, "-smp", str(machine.cpus),
        "-object", f"memory-backend-ram,id=near,size={machine.memory}",
        "-numa", f"node,nodeid=0,memdev=near,cpus=0-{max(0, last - 1)}",
        "-numa", f"node,nodeid=1,cpus={last}" if last else "node,nodeid=1",
    ]  # fmt: skip


def _port(kind: str, number: int, name: str, descriptor: int) -> list[str]:
    device = f"{kind},bus=ports.0,chardev={name},nr={number}"
    return ["-chardev", f"socket,id={name},fd={descriptor}", "-device", device]


def _share(tag: str, path: Path, access: str = "") -> list[str]:
    backend = f"local,id={tag},path={_value(path)},security_model=none,multidevs=remap{access}"
    return ["-fsdev", backend, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def _value(path: Path) -> str:
    """QEMU splits options at commas; a doubled one stands for itself."""
    return str(path).replace(",", ",,")
