"""NCCL_TOPO_FILE for a pod: places of its NICs and GPUs, which a container may not be able to see. Pure.

NCCL reads the XML of its own `NCCL_TOPO_DUMP_FILE` (NVIDIA NCCL user guide, "NCCL_TOPO_FILE"): <system> holds <cpu> by
NUMA node, that <pci> bridges and devices, and a NIC's <pci> a <nic> with a <net> for each RDMA device. NCCL fills in
what is left out, and keeps what is there (xmlInitAttrInt() in src/graph/topo.cc). So there is nothing here that it can
find out itself: not a net's speed, nor whether it has GPUDirect RDMA, nor a GPU's compute capability and NVLinks.
"""

from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as Xml

from sriovctl.node import pcie

_BRIDGE = "0x060400"


def document(
    functions: Mapping[str, pcie.Function],
    devices: Iterable[str],
    rdma: Mapping[str, tuple[str, ...]],
) -> str:
    """Return the file for these PCI devices. `rdma` are the names of RDMA devices by PCI address."""
    system = Xml.Element("system", version="1")
    cpus: dict[int, Xml.Element] = {}
    bridges: dict[tuple[str, ...], Xml.Element] = {}
    for one in sorted((functions[each] for each in devices), key=lambda one: (one.path, one.pci)):
        cpu = _cpu(system, cpus, one)
        parent = _parent(functions, bridges, cpu, one)
        made = _pci(parent, one)
        names = rdma.get(one.pci, ()) if one.is_nic else ()
        nic = Xml.SubElement(made, "nic") if names else made
        for name in names:
            Xml.SubElement(nic, "net", {"name": name})
    Xml.indent(system)
    return Xml.tostring(system, encoding="unicode") + "\n"


def _cpu(system: Xml.Element, cpus: dict[int, Xml.Element], one: pcie.Function) -> Xml.Element:
    """Return the device's CPU; a machine without NUMA has one node to NCCL, -1."""
    node = -1 if one.numa_node is None else one.numa_node
    if node not in cpus:
        cpus[node] = Xml.SubElement(system, "cpu", numaid=str(node))
    return cpus[node]


def _parent(
    functions: Mapping[str, pcie.Function],
    bridges: dict[tuple[str, ...], Xml.Element],
    cpu: Xml.Element,
    one: pcie.Function,
) -> Xml.Element:
    """Return the element above the device; each bridge is made once, and the host bridge is the CPU itself."""
    parent = cpu
    for depth in range(2, len(one.path) + 1):
        path = one.path[:depth]
        if path not in bridges:
            bridges[path] = _pci(parent, functions[path[-1]])
        parent = bridges[path]
    return parent


def _pci(parent: Xml.Element, one: pcie.Function) -> Xml.Element:
    known = {"busid": one.pci, "class": one.pci_class or _BRIDGE, "vendor": one.vendor, "device": one.device}
    speed = {"link_speed": one.speed or "", "link_width": str(one.width or "")}
    return Xml.SubElement(parent, "pci", {key: value for key, value in {**known, **speed}.items() if value})
