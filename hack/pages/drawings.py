"""Drawings of docs/concepts.md: boxes and arrows with coordinates, so that a change of one is a line here."""

from hack.pages import canvas
from hack.pages.canvas import Canvas


def all_of_them() -> dict[str, str]:
    return {"underlay": _underlay(), "packet": _packet(), "attach": _attach(), "death": _death()}


def _underlay() -> str:
    """Draw three ways from a pod to the wire, as columns; what is grey works for every packet, in the host's CPU."""
    drawing = Canvas(900, 440)
    columns = {
        "overlay": [
            "pod: eth0",
            "veth pair",
            "bridge, rules, NAT",
            "VXLAN or Geneve tunnel",
            "host's routes, host's NIC",
        ],
        "routing": ["pod: eth0", "veth pair", "rules, eBPF", "host's routes, host's NIC"],
        "underlay": ["pod: net1 is a VF", "the NIC's own switch"],
    }
    for number, (title, stations) in enumerate(columns.items()):
        left = 20 + number * 295
        drawing.text(left + 135, 28, title, bold=True)
        for row, station in enumerate(stations):
            top = 44 + row * 62
            kind = "pod" if row == 0 else "nic" if "own switch" in station else "host"
            drawing.box(left, top, 270, 38, station, kind=kind)
            end = top + 62 if row < len(stations) - 1 else 364
            drawing.arrow(left + 135, top + 38, left + 135, end)
        drawing.box(left, 364, 270, 38, "the wire: " + _ON_THE_WIRE[title], kind="wire")
    drawing.text(450, 428, "grey: work of the host's CPU for each packet")
    return drawing.svg("Overlay, routing and underlay: what is between a pod and the wire")


_ON_THE_WIRE = {"overlay": "host's address outside", "routing": "pod's address, routed", "underlay": "pod's own frame"}


def _packet() -> str:
    """Draw two nodes; the path of a packet never enters a host's network stack."""
    drawing = Canvas(900, 400)
    for left, node, pods in ((20, "node 1", ("red-1", "blue-1")), (480, "node 2", ("red-3", "green-1"))):
        drawing.box(left, 20, 400, 270, "", kind="frame")
        drawing.text(left + 200, 44, node, bold=True)
        for number, pod in enumerate(pods):
            drawing.box(left + 20 + number * 120, 62, 110, 52, f"pod {pod}", "net1 = VF", kind="pod")
            drawing.arrow(left + 75 + number * 120, 114, left + 75 + number * 120, 176, both=True)
        drawing.box(left + 270, 62, 110, 52, "the host", "PF's netdev", kind="host")
        drawing.arrow(left + 325, 114, left + 325, 176, both=True)
        drawing.box(
            left + 20,
            176,
            360,
            90,
            "the NIC's switch",
            "into the pod: by MAC and VLAN",
            "out: MAC checked, VLAN tag set",
            kind="nic",
        )
        drawing.arrow(left + 200, 266, left + 200, 330, both=True)
    drawing.box(
        20, 330, 860, 44, "the physical network: VLAN 100, VLAN 200, its own routers and firewalls", kind="wire"
    )
    return drawing.svg("Path of a packet: from the pod's VF through the NIC's switch to the wire")


def _attach() -> str:
    lanes = ["device plugin", "kubelet", "runtime, shim", "CNI daemon", "kernel, NIC"]
    messages = [
        (0, 1, "VFs and their health"),
        (1, 0, "Allocate: this VF"),
        (1, 2, "start the pod"),
        (2, 3, "ADD, with the namespace"),
        (3, 3, "first a record in the ledger"),
        (3, 4, "PF: all VF settings"),
        (3, 4, "move and rename at once"),
        (3, 2, "run IPAM, meanwhile"),
        (3, 4, "MAC, up, addresses"),
        (3, 2, "the answer, then ARP"),
    ]
    return canvas.sequence("How a pod gets its VF", lanes, messages)


def _death() -> str:
    lanes = ["runtime, shim", "CNI daemon", "kernel, NIC", "device plugin"]
    messages = [
        (0, 0, "a pod is deleted normally:"),
        (0, 1, "DEL"),
        (1, 2, "VF to the host, by PCI address"),
        (1, 2, "baseline, name, MAC, MTU"),
        (1, 1, "last, the record is removed"),
        (2, 2, "or the namespace ends and no DEL comes:"),
        (2, 2, "the VF falls back to the host, as the pod left it"),
        (3, 3, "unhealthy: offered to nobody"),
        (1, 1, "seen within 10 s: no owner any more"),
        (1, 2, "the same steps as a DEL"),
        (3, 3, "healthy again"),
    ]
    return canvas.sequence("What happens when a pod dies", lanes, messages)
