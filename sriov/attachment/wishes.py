"""Wish: what a PF is to state of a VF, and which of it somebody asked for. Pure.

The network configuration asks for what it names and for what differs from the baseline. Everything else is stated on
our own account: the baseline, the VF's declared settings, and its own MAC, which the PF holds the pod to.
"""

from collections.abc import Iterator

import msgspec

from sriov import settings
from sriov.settings import Setting


class Wish(msgspec.Struct, frozen=True):
    """What to state: `wanted`, of which `asked` are the settings that somebody asked for.

    `former` are the settings of the VF's last owner, if known: they must not stay. `which` are the settings that are
    stated at all.
    """

    wanted: settings.VfSettings
    asked: frozenset[Setting] = frozenset()
    former: settings.VfSettings | None = None
    which: frozenset[Setting] = settings.EVERY_SETTING

    @property
    def left(self) -> frozenset[Setting]:
        """The settings that the last owner may have left behind."""
        return frozenset() if self.former is None else settings.differing(self.former, self.wanted)

    @property
    def needed(self) -> frozenset[Setting]:
        """The settings that are tried even if the PF is known not to support them."""
        return (self.asked | self.left) & self.which

    def instead(self, setting: Setting, own_mac: str) -> Iterator[settings.VfSettings]:
        """Yield the wanted settings, then, if nobody asked for `setting`, the substitutes that do as well.

        A driver that cannot clear an administered MAC gets the VF's own, so that no former owner's stays; one that does
        not pin it leaves it to the VF. A declared value that is refused becomes the baseline.
        """
        yield self.wanted
        if setting in self.asked:
            return
        if setting is Setting.MAC:
            others = {settings.NO_MAC, own_mac} - {self.wanted.mac}
            yield from (msgspec.structs.replace(self.wanted, mac=mac) for mac in sorted(others, reverse=True))
        elif self.wanted.value(setting) != settings.BASELINE.value(setting):
            yield settings.BASELINE


def of_userspace(
    wanted: settings.VfSettings,
    asked: frozenset[Setting],
    host_mac: str | None,
    former: settings.VfSettings | None = None,
) -> Wish:
    """Wish for a VF without a netdev: if nobody names a MAC, it keeps `host_mac`, which its PF had for it before.

    A virtual machine finds its NIC by that MAC. None means unknown: the MAC is left alone then, unless `former` had
    another one.
    """
    if Setting.MAC in asked:
        return Wish(wanted, asked, former)
    if host_mac is None and (former is None or former.mac == settings.NO_MAC):
        return Wish(wanted, asked, former, settings.EVERY_SETTING - {Setting.MAC})
    kept = msgspec.structs.replace(wanted, mac=host_mac or settings.NO_MAC)
    return Wish(kept, asked, former)


def of_infiniband(
    wanted: settings.VfSettings, asked: frozenset[Setting], former: settings.VfSettings | None = None
) -> Wish:
    """Wish for an InfiniBand VF: its link state, and the GUID if one is given."""
    which = settings.INFINIBAND if wanted.guid else settings.INFINIBAND - {Setting.GUID}
    return Wish(wanted, asked & which, former, which)


def shown(wanted: settings.VfSettings, setting: Setting) -> str:
    """Return the setting in the words of the network configuration."""
    match setting:
        case Setting.VLAN:
            return f"vlan {wanted.vlan} with vlanQoS {wanted.qos} and vlanProto {wanted.proto.value}"
        case Setting.RATE:
            return f"min_tx_rate {wanted.min_tx_rate} with max_tx_rate {wanted.max_tx_rate}"
        case Setting.LINK_STATE:
            return f"link_state {wanted.link_state.value}"
        case Setting.SPOOFCHK | Setting.TRUST:
            return f"{setting.value} {'on' if wanted.value(setting) else 'off'}"
        case Setting.MAC:
            return f"mac {wanted.mac}"
        case Setting.GUID:
            return f"guid {wanted.guid}"
