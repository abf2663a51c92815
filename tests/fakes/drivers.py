"""Answers of other drivers, read in the source of Linux 6.12 and not measured: world.Profile for each of them.

Requests go through net/core/rtnetlink.c, do_setvfinfo(), which returns EOPNOTSUPP if a driver has no such function.
Paths are below drivers/net/ethernet unless a full one is given. Only netdevsim's has been compared with the real thing
(tests/lab).
"""

import dataclasses
import errno

from sriov import devices, settings
from sriov.settings import Setting
from tests.fakes import world

ENOTSUPP = 524
"""The kernel's own errno, include/linux/errno.h, which some drivers let out to user space."""

_SPOOFABLE = settings.VfSettings(spoofchk=False)

# drivers/net/netdevsim/netdev.c, nsim_set_vf_mac() and its neighbours: they store what they are given.
NETDEVSIM = world.Profile(
    fresh=_SPOOFABLE, keeps_administered=False, takes_mac_at_down=False, filters_by_administered=False
)

# mellanox/mlx5/core/en_main.c, mlx5e_set_vf_vlan(): 802.1ad is EPROTONOSUPPORT. eswitch.c,
# mlx5_esw_set_vport_mac_locked(): multicast is EINVAL, none is taken. en_main.c, mlx5e_set_mac(): a VF may always
# change its address. esw/acl/ingress_lgcy.c, esw_acl_ingress_lgcy_setup(): spoof checking lets out the administered
# MAC and nothing else, also where it is all zero; a new VF has it off.
MLX5 = world.Profile(
    fresh=_SPOOFABLE,
    provider_vlan=False,
    keeps_administered=False,
    takes_mac_at_down=False,
    filters_by_administered=False,
    checks_administered=True,
    driver="mlx5_core",
)

# In switchdev mode: esw/legacy.c, mlx5_eswitch_set_vport_vlan() takes VLAN 0 only; mlx5_eswitch_set_vport_spoofchk(),
# mlx5_eswitch_set_vport_trust() and en_main.c, mlx5e_set_vf_link_state() refuse everything.
MLX5_SWITCHDEV = dataclasses.replace(
    MLX5,
    unsupported=frozenset({Setting.SPOOFCHK, Setting.TRUST, Setting.LINK_STATE}),
    baseline_only=frozenset({Setting.VLAN}),
    checks_administered=False,
)

# The host's side of a DPU, where another processor manages the switch: mlx5_esw_allowed() in eswitch.h is false, and
# the functions above say EPERM. VLAN 0 and any MAC are taken.
MLX5_MANAGED_ELSEWHERE = dataclasses.replace(
    MLX5_SWITCHDEV,
    unsupported=MLX5_SWITCHDEV.unsupported | {Setting.RATE},
    refusal=errno.EPERM,
)

# intel/ixgbe/ixgbe_sriov.c: ixgbe_ndo_set_vf_trust() clears clear_to_send, as a PF that goes down does, and
# ixgbe_rcv_msg_from_vf() then answers no until the VF is reset; ixgbevf/ixgbevf_main.c: ixgbevf_set_mac() makes EPERM
# of any no, ixgbevf_change_mtu() EINVAL, and ixgbevf_down() resets. ixgbe_ndo_set_vf_bw(): EINVAL for a min_tx_rate and
# without a link; ixgbe_ndo_set_vf_vlan(): no 802.1ad.
IXGBE = world.Profile(
    min_rate=False,
    provider_vlan=False,
    rate_needs_link=True,
    own_refusal=errno.EPERM,
    deaf_after_trust=True,
    deaf_refusal=errno.EPERM,
    deaf_mtu_refusal=errno.EINVAL,
    driver="ixgbevf",
)

# intel/ice/ice_sriov.c: __ice_set_vf_mac() resets the VF, which then takes the MAC; ice_set_vf_port_vlan() with
# ice_is_supported_port_vlan_proto(): 802.1ad only in double VLAN mode; ice_set_vf_bw(): more min_tx_rate than the link
# has is EINVAL. A MAC that the VF has is not administered ("nothing left to do", __ice_set_vf_mac()). The VF's own
# address while one is administered: intel/iavf/iavf_main.c, iavf_set_mac(): EACCES. While iavf resets, its netdev takes
# nothing: iavf_open() and iavf_set_mac() EBUSY, iavf_change_mtu() what iavf_wait_for_reset() says, EBUSY or EAGAIN.
ICE = world.Profile(
    provider_vlan=False,
    own_refusal=errno.EACCES,
    takes_mac_at_down=False,
    takes_mac_at_once=True,
    filters_by_administered=False,
    passes_over_its_own=True,
    resetting=2,
    driver="iavf",
)

# With DCB active ice_set_vf_bw() has no min_tx_rate (EOPNOTSUPP); the fake says EINVAL, and both are refusals.
ICE_WITH_DCB = dataclasses.replace(ICE, min_rate=False)

# intel/i40e/i40e_virtchnl_pf.c: i40e_ndo_set_vf_bw() has no min_tx_rate (EINVAL), i40e_ndo_set_vf_port_vlan() no
# 802.1ad (EPROTONOSUPPORT); i40e_ndo_set_vf_mac() resets the VF. EAGAIN while another request or a reset is pending.
I40E = dataclasses.replace(ICE, min_rate=False, passes_over_its_own=False)

# broadcom/bnxt/bnxt_sriov.c: bnxt_set_vf_bw() refuses more than the link's speed with EINVAL; bnxt_set_vf_vlan()
# needs firmware for 802.1ad; bnxt_approve_mac(): the firmware has the last word on a VF's own address (EADDRNOTAVAIL).
BNXT = world.Profile(provider_vlan=False, max_rate=25_000, takes_mac_at_down=False, filters_by_administered=False)

# With firmware before interface 1.7.1 bnxt_set_vf_spoofchk() has no such thing.
BNXT_OLD = dataclasses.replace(BNXT, unsupported=frozenset({Setting.SPOOFCHK}), refusal=ENOTSUPP)

# drivers/infiniband/ulp/ipoib/ipoib_main.c: ipoib_netdev_ops_pf sets a VF's link state and GUIDs and nothing else;
# ipoib_netdev_ops_vf has no ndo_set_mac_address. A VF's driver reads its GUID when it is bound.
MLX5_INFINIBAND = world.Profile(
    unsupported=settings.EVERY_SETTING - {Setting.LINK_STATE},
    fresh=_SPOOFABLE,
    keeps_administered=False,
    takes_mac_at_down=False,
    filters_by_administered=False,
    driver="mlx5_core",
    link_type=devices.LinkType.INFINIBAND,
)

ALL = {
    "igb": world.IGB,
    "netdevsim": NETDEVSIM,
    "mlx5": MLX5,
    "mlx5-switchdev": MLX5_SWITCHDEV,
    "mlx5-managed-elsewhere": MLX5_MANAGED_ELSEWHERE,
    "ixgbe": IXGBE,
    "ice": ICE,
    "ice-with-dcb": ICE_WITH_DCB,
    "i40e": I40E,
    "bnxt": BNXT,
    "bnxt-old": BNXT_OLD,
}
