"""IFLA_VF_INFO as pyroute2 has it: requests to a PF about one VF, and its answers. Pure; part of netlink.

The attributes are those of include/uapi/linux/if_link.h.
"""

from collections.abc import Set
from typing import Any

from sriov import settings
from sriov.linux import nlsocket
from sriov.linux.messages import pyroute2_parts

_ETH_P_8021AD = 0x88A8
_LINK_STATES = (settings.LinkState.AUTO, settings.LinkState.ENABLE, settings.LinkState.DISABLE)  # IFLA_VF_LINK_STATE_*
_NUM_VF, _VFINFO_LIST = 21, 22  # IFLA_*
_OF_VFS = (_NUM_VF, _VFINFO_LIST)
_ATTRIBUTES = nlsocket.HEADER.size + 16  # behind struct ifinfomsg
# struct ifla_vf_vlan_info ends in two bytes of padding that pyroute2 0.9 leaves out, and the kernel refuses what is
# shorter than the structure (do_setvfinfo() in net/core/rtnetlink.c).
_VLAN_INFO = pyroute2_parts.part("netlink.rtnl.ifinfmsg").ifinfbase.vflist.vfinfo.vf_vlist.ivvi
_VLAN_INFO.fields = (*_VLAN_INFO.fields[:4], ("padding", "H"))


def request(vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> tuple[str, Any]:
    """Return these settings of the VF as an attribute of its PF's link."""
    every: dict[settings.Setting, Any] = {
        settings.Setting.MAC: ("IFLA_VF_MAC", {"mac": wanted.mac}),
        settings.Setting.VLAN: _vlan_request(vf, wanted),
        settings.Setting.SPOOFCHK: ("IFLA_VF_SPOOFCHK", {"spoofchk": int(wanted.spoofchk)}),
        settings.Setting.TRUST: ("IFLA_VF_TRUST", {"trust": int(wanted.trust)}),
        settings.Setting.LINK_STATE: ("IFLA_VF_LINK_STATE", {"link_state": _LINK_STATES.index(wanted.link_state)}),
        settings.Setting.RATE: (
            "IFLA_VF_RATE",
            {"min_tx_rate": wanted.min_tx_rate, "max_tx_rate": wanted.max_tx_rate},
        ),
    }
    asked = [(name, {"vf": vf, **value}) for name, value in map(every.__getitem__, which - {settings.Setting.GUID})]
    if settings.Setting.GUID in which:
        for kind in ("node", "port"):
            asked.append((f"IFLA_VF_IB_{kind.upper()}_GUID", {"vf": vf, f"ib_{kind}_guid": wanted.guid}))
    return "IFLA_VFINFO_LIST", {"attrs": [("IFLA_VF_INFO", {"attrs": asked})]}


def _vlan_request(vf: int, wanted: settings.VfSettings) -> tuple[str, dict[str, Any]]:
    """Use the plain attribute for 802.1Q, which every kernel and driver knows; only the list can name a protocol."""
    tag = {"vlan": wanted.vlan, "qos": wanted.qos}
    if wanted.proto is settings.VlanProto.Q:
        return "IFLA_VF_VLAN", tag
    listed = {"vf": vf, **tag, "proto": _ETH_P_8021AD, "padding": 0}
    return "IFLA_VF_VLAN_LIST", {"attrs": [("IFLA_VF_VLAN_INFO", listed)]}


def _proto(info: Any) -> settings.VlanProto:
    tags = (info.get_attr("IFLA_VF_VLAN_LIST") or {"attrs": []})["attrs"]
    provider = any(tag[1]["proto"] == _ETH_P_8021AD for tag in tags)
    return settings.VlanProto.AD if provider else settings.VlanProto.Q


def of(message: Any, vf: int) -> Any:
    """Return what a link's message reports of this VF; None if nothing.

    The VF is found by its own field, never by its place in the list: the list may have gaps, so a VF is at its index
    or before.
    """
    listed = (message.get_attr("IFLA_VFINFO_LIST") or {"attrs": []})["attrs"]
    # The last entry of a list that breaks off is cut, and stays bytes.
    every = (info for _, info in reversed(listed[: vf + 1]) if not isinstance(info, bytes))
    return next((info for info in every if info.get_attr("IFLA_VF_MAC")["vf"] == vf), None)


def list_alone(message: bytes) -> bytes:
    """Return a link's message reduced to its report of VFs.

    What follows a list that breaks off looks like attributes and is none. IFLA_NUM_VF is before the list.
    """
    found: dict[int, bytes] = {}
    for kind, value in nlsocket.attributes(message, _ATTRIBUTES):
        if kind in _OF_VFS:
            found.setdefault(kind, value)
        if kind == _VFINFO_LIST:
            break
    body = message[nlsocket.HEADER.size : _ATTRIBUTES] + b"".join(
        nlsocket.attribute(kind, value) for kind, value in found.items()
    )
    _, *rest = nlsocket.HEADER.unpack_from(message)
    return nlsocket.HEADER.pack(nlsocket.HEADER.size + len(body), *rest) + body


def breaks_off_before(message: Any, vf: int, length: int) -> bool:
    """Report whether the VF is missing because the list was too long for an attribute's 16-bit length.

    `length` is the whole message's. rtnl_fill_vf() in net/core/rtnetlink.c closes the list without checking its length
    (Linux 6.12).
    """
    return length > 0xFFFF and vf < (message.get_attr("IFLA_NUM_VF") or 0)


def shown(info: Any) -> settings.VfSettings:
    """Return one VF's settings; one that the driver does not report is at its baseline."""
    vlan, rate = info.get_attr("IFLA_VF_VLAN"), info.get_attr("IFLA_VF_RATE")
    guid = info.get_attr("IFLA_VF_IB_PORT_GUID")
    trust, state = info.get_attr("IFLA_VF_TRUST"), info.get_attr("IFLA_VF_LINK_STATE")
    return settings.VfSettings(
        mac=info.get_attr("IFLA_VF_MAC")["mac"][:17],
        vlan=vlan["vlan"],
        qos=vlan["qos"],
        proto=_proto(info),
        spoofchk=info.get_attr("IFLA_VF_SPOOFCHK")["spoofchk"] == 1,
        trust=trust is not None and trust["trust"] == 1,
        link_state=_LINK_STATES[state["link_state"]] if state else settings.LinkState.AUTO,
        min_tx_rate=rate["min_tx_rate"] if rate else 0,
        max_tx_rate=rate["max_tx_rate"] if rate else 0,
        guid=guid["ib_port_guid"] if guid else "",
    )
