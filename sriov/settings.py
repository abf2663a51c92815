"""Settings of a VF: names, ranges, the baseline of a VF without owner, and what a file may declare over it. Pure.

Each Setting is one attribute of the kernel's IFLA_VF_INFO (include/uapi/linux/if_link.h), set through the PF.
"""

import enum
import re

import msgspec

from sriov import errors

NO_MAC = "00:00:00:00:00:00"
"""As an administered address: none; the VF chooses its own."""

_GUID = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){7}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_U32 = 2**32 - 1


class LinkState(enum.Enum):
    """Whether a VF's link follows its PF's. The value is that of the network configuration."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"


class VlanProto(enum.Enum):
    """EtherType of the tag: a customer's (C-VLAN) or a provider's (S-VLAN, "QinQ")."""

    Q = "802.1q"
    AD = "802.1ad"


class Setting(enum.Enum):
    """One setting that a driver supports or not.

    VLAN is VLAN, QoS and protocol, RATE is both rates: the kernel takes them together. GUID is the node's and the
    port's of an InfiniBand VF, which are set to the same value.
    """

    MAC = "mac"
    VLAN = "vlan"
    SPOOFCHK = "spoofchk"
    TRUST = "trust"
    LINK_STATE = "link_state"
    RATE = "tx_rate"
    GUID = "guid"


class VfSettings(msgspec.Struct, frozen=True):
    """All that a PF has of a VF. The defaults are the baseline.

    `mac` is the administered address; `vlan` 0 is untagged; `qos` the 802.1p priority, 0 to 7; rates are in Mbit/s,
    0 is no limit. `guid` is an InfiniBand VF's, eight octets as in 00:11:22:33:44:55:66:77, "" for none.
    """

    mac: str = NO_MAC
    vlan: int = 0
    qos: int = 0
    proto: VlanProto = VlanProto.Q
    spoofchk: bool = True
    trust: bool = False
    link_state: LinkState = LinkState.AUTO
    min_tx_rate: int = 0
    max_tx_rate: int = 0
    guid: str = ""

    def value(self, setting: Setting) -> object:
        """Return the value of one Setting, for comparison and for messages."""
        match setting:
            case Setting.VLAN:
                return (self.vlan, self.qos, self.proto.value)
            case Setting.RATE:
                return (self.min_tx_rate, self.max_tx_rate)
            case _:
                return getattr(self, setting.value)


BASELINE = VfSettings()
EVERY_SETTING = frozenset(Setting) - {Setting.GUID}
"""Settings of an Ethernet VF."""

INFINIBAND = frozenset({Setting.LINK_STATE, Setting.GUID})
"""Settings of an InfiniBand VF: ipoib_netdev_ops_pf in drivers/infiniband/ulp/ipoib/ipoib_main.c has no others."""

NO_GUID = "ff:ff:ff:ff:ff:ff:ff:ff"
"""As an administered GUID: none. A VF that never had one shows zeros, which cannot be set again."""

_FIELDS = {Setting.VLAN: ("vlan", "qos", "proto"), Setting.RATE: ("min_tx_rate", "max_tx_rate")}


class Switches(msgspec.Struct, frozen=True):
    """Settings of a VF that a file or a network may name; None is not named, and the next lower layer decides."""

    trust: bool | None = None
    spoofchk: bool | None = None

    def over(self, below: VfSettings) -> VfSettings:
        """Return `below` with what is named here replaced."""
        return msgspec.structs.replace(
            below,
            trust=below.trust if self.trust is None else self.trust,
            spoofchk=below.spoofchk if self.spoofchk is None else self.spoofchk,
        )

    def settings(self) -> frozenset[Setting]:
        """Return the settings that are named, at whatever value."""
        return frozenset(each for each in (Setting.TRUST, Setting.SPOOFCHK) if getattr(self, each.value) is not None)


UNNAMED = Switches()


def differing(one: VfSettings, other: VfSettings) -> frozenset[Setting]:
    """Return the settings in which two differ."""
    return frozenset(setting for setting in Setting if one.value(setting) != other.value(setting))


def taken(base: VfSettings, over: VfSettings, which: frozenset[Setting]) -> VfSettings:
    """Return `base` with these settings taken from `over`."""
    names = (name for setting in which for name in _FIELDS.get(setting, (setting.value,)))
    return msgspec.structs.replace(base, **{name: getattr(over, name) for name in names})


def asked(wanted: VfSettings) -> frozenset[Setting]:
    """Return the settings that differ from the baseline: a driver has to support them for this VF."""
    return differing(wanted, BASELINE)


# The first half of the messages from here on is sriov-cni's, since tools match on it.
def in_range(name: str, value: int, low: int, high: int) -> int:
    """Return `value`. Raises a SettingError that names the setting, the value and the range."""
    if not low <= value <= high:
        raise errors.SettingError(
            f"{name} {value} invalid: value must be in the range {low}-{high}", f"use a value from {low} to {high}"
        )
    return value


def proto(text: str) -> VlanProto:
    """Parse a VLAN protocol, in upper or lower case, as in 802.1Q."""
    try:
        return VlanProto(text.lower())
    except ValueError:
        raise errors.SettingError(
            f"vlan Proto {text} invalid: value must be '802.1Q' or '802.1ad'", "leave it out for 802.1Q"
        ) from None


def mac(text: str) -> str:
    """Return a unicast, non-zero hardware address, in lower case. Raises SettingError."""
    address = text.lower()
    if not _MAC.fullmatch(address):
        raise errors.SettingError(f"mac {text!r} is not a hardware address", "write six octets: 02:00:00:00:00:01")
    if int(address[:2], 16) & 1:
        raise errors.SettingError(
            f"mac {text!r} is a multicast address", "a VF needs a unicast one: make the first octet even"
        )
    if address == NO_MAC:
        raise errors.SettingError(f"mac {text!r} is all zero", "leave `mac` out to keep the VF's own address")
    return address


def guid(text: str) -> str:
    """Return an InfiniBand GUID in lower case: eight octets, not all zero, not all ones. Raises SettingError."""
    found = text.lower()
    if not _GUID.fullmatch(found) or (len(set(found.split(":"))) == 1 and found[:2] in ("00", "ff")):
        raise errors.SettingError(
            f"guid {text!r} is not an InfiniBand GUID", "write eight octets: 02:00:00:00:00:00:00:01"
        )
    return found


def guid_of(address: str) -> str:
    """Return a VF's GUID from its netdev's address: the last 8 of 20 octets are the port's (RFC 4391, 9.1.1)."""
    found = address[-23:]
    return found if _GUID.fullmatch(found) and set(found) - set("0:") else NO_GUID


def aside(address: str) -> str:
    """Return another unicast address, which nobody has, for the VF to take for a moment.

    Setting the address that a netdev already has does nothing: the kernel does not ask the driver.
    """
    first = int(address[:2], 16) ^ 0x04
    return f"{first:02x}{address[2:]}" if first else f"0c{address[2:]}"


def check(wanted: VfSettings) -> VfSettings:
    """`wanted`, if a VF can have it: its numbers are in range and agree with each other. Raises SettingError.

    Rates are 32-bit fields in the kernel. VLAN 4095 is reserved (IEEE 802.1Q table 9-2), though some drivers accept it.
    """
    in_range("vlan id", wanted.vlan, 0, 4094)
    in_range("vlan QoS PCP", wanted.qos, 0, 7)
    in_range("min_tx_rate", wanted.min_tx_rate, 0, _U32)
    in_range("max_tx_rate", wanted.max_tx_rate, 0, _U32)
    _check_together(wanted)
    return wanted


def _check_together(wanted: VfSettings) -> None:
    if wanted.qos and not wanted.vlan:
        raise errors.SettingError(
            f"vlanQoS {wanted.qos}: non-zero vlan id must be configured to set vlan QoS to a non-zero value",
            "the priority travels in the VLAN tag: set vlan to 1 to 4094",
        )
    if wanted.proto is VlanProto.AD and not wanted.vlan:
        raise errors.SettingError(
            "vlanProto 802.1ad: non-zero vlan id must be configured to set vlan proto 802.1ad", "set vlan to 1 to 4094"
        )
    if wanted.max_tx_rate and wanted.min_tx_rate > wanted.max_tx_rate:
        raise errors.SettingError(
            f"min_tx_rate {wanted.min_tx_rate} exceeds max_tx_rate {wanted.max_tx_rate}", "raise max_tx_rate"
        )
