"""Stating a VF's whole configuration through its PF, on drivers that support only part of it.

The whole VF is stated each time, so that nothing a former owner left behind survives. Where a driver refuses, each
setting is asked for alone: what was asked for and is refused is an error that names it; a baseline value that the
driver cannot even be told is what the VF has anyway. What a PF does not support is remembered: this is paid once.
"""

import dataclasses
import errno
from collections.abc import Set

from sriov import errors, kernel, settings
from sriov.settings import Setting

# How drivers say that they have no such thing at all. The first is right. The second is the kernel's own ENOTSUPP, let
# out by bnxt with old firmware (bnxt_sriov.c); the third is mlx5's where another processor manages the switch
# (eswitch.h, mlx5_esw_allowed). Who lacks CAP_NET_ADMIN hears EPERM too, and cannot move a netdev either.
_NO_SUCH_THING = frozenset({errno.EOPNOTSUPP, 524, errno.EPERM})
# How they say "not this value": igb for min_tx_rate, for a MAC, for 802.1ad.
_REFUSALS = _NO_SUCH_THING | {errno.EINVAL, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A VF as its PF knows it: PF link index, VF index.

    `own_mac` is its netdev's address in the host; NO_MAC where it has no netdev.
    """

    pf: int
    vf: int
    own_mac: str


class Unsupported:
    """What the drivers of this node have refused so far, by PF link index."""

    def __init__(self) -> None:
        self._known: dict[int, frozenset[Setting]] = {}

    def of(self, pf: int) -> frozenset[Setting]:
        return self._known.get(pf, frozenset())

    def add(self, pf: int, setting: Setting) -> None:
        self._known[pf] = self.of(pf) | {setting}

    def forget(self, pf: int, settled: Set[Setting]) -> None:
        """These were set after all: a PF may learn, as mlx5 does when it leaves switchdev mode."""
        if self.of(pf) & settled:
            self._known[pf] = self.of(pf) - settled


def state(net: kernel.Kernel, target: Target, wanted: settings.VfSettings, unsupported: Unsupported) -> None:
    """Set everything: what `wanted` says, which is the baseline where nobody asked.

    Raises UnsupportedError for a setting that was asked for and refused, KernelError for any other failure. Some
    settings may have been applied by then: restate the baseline.
    """
    asked = settings.asked(wanted)
    which = settings.EVERY_SETTING - (unsupported.of(target.pf) - asked)
    try:
        net.set_vf(target.pf, target.vf, wanted, which)
    except errors.KernelError as error:
        if error.errno not in _REFUSALS:
            raise
        for setting in sorted(which, key=lambda each: each.value):
            _state_one(net, target, wanted, setting, unsupported)
    else:
        unsupported.forget(target.pf, which)


def refuse_without_pf(wanted: settings.VfSettings, has_netdev: bool) -> None:
    """Raises UnsupportedError for the first setting that only a PF can make; a netdev takes its MAC itself."""
    itself = {Setting.MAC} if has_netdev else set()
    for setting in sorted(settings.asked(wanted) - itself, key=lambda each: each.value):
        raise errors.UnsupportedError(
            f"{_shown(wanted, setting)} needs the VF's PF, which is not on this machine",
            "set it where the PF is, and leave it out here",
        )


def _state_one(
    net: kernel.Kernel, target: Target, wanted: settings.VfSettings, setting: Setting, unsupported: Unsupported
) -> None:
    only: Set[Setting] = {setting}
    try:
        net.set_vf(target.pf, target.vf, wanted, only)
        unsupported.forget(target.pf, only)
    except errors.KernelError as error:
        if error.errno not in _REFUSALS:
            raise
        if setting in settings.asked(wanted):
            raise errors.UnsupportedError(
                f"the driver of VF {target.vf} refuses {_shown(wanted, setting)} ({error.message})",
                "leave it out of the network configuration or the provisioning file, or use another NIC",
            ) from error
        if error.errno in _NO_SUCH_THING:
            unsupported.add(target.pf, setting)
        elif setting is Setting.MAC:
            # A driver that cannot clear an administered MAC gets the VF's own, so that no former owner's stays.
            if target.own_mac != settings.NO_MAC:
                net.set_vf(target.pf, target.vf, dataclasses.replace(wanted, mac=target.own_mac), only)
        elif setting is not Setting.RATE or not _is_unlimited(net, target):
            raise


def _is_unlimited(net: kernel.Kernel, target: Target) -> bool:
    """Whether there is no rate to take back: igb and ixgbe refuse every rate, none too, while the PF has no link.

    igb_ndo_set_vf_bw() in igb_main.c, ixgbe_ndo_set_vf_bw() in ixgbe_sriov.c. A cable that is out must not keep a pod
    from ending.
    """
    found = net.vf(target.pf, target.vf)
    return (found.min_tx_rate, found.max_tx_rate) == (0, 0)


def _shown(wanted: settings.VfSettings, setting: Setting) -> str:
    """In the words of the network configuration."""
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
