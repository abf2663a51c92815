"""Embedded switch of a card, by devlink: reading and changing its mode. The device plugin must not import it.

Both need CAP_NET_ADMIN (net/devlink/netlink_gen.c: DEVLINK_CMD_ESWITCH_GET and _SET have GENL_ADMIN_PERM). Numbers of
modes: enum devlink_eswitch_mode in include/uapi/linux/devlink.h.
"""

from sriov import devices
from sriov.linux import devlink
from sriov.linux.messages import pyroute2_parts

_ACK = pyroute2_parts.part("netlink").NLM_F_ACK
_messages = pyroute2_parts.part("netlink.devlink")

_NUMBERS = {devices.EswitchMode.LEGACY: 0, devices.EswitchMode.SWITCHDEV: 1}
_MODES = {number: mode for mode, number in _NUMBERS.items()}
_REMEDY = "try `devlink dev eswitch show`, and look at the kernel's log for the driver's message"


class Eswitch(devlink.Devlink):
    """Client of the switch. Belongs to one thread and to the network namespace it was made in. Raises KernelError."""

    def mode(self, bus: str, device: str) -> devices.EswitchMode | None:
        """Return the mode; None if the card has no such switch, or a mode that is not known here."""
        with devlink.refusals(f"read the eswitch mode of {bus}/{device}", _REMEDY):
            answers = self.ask(_messages.DEVLINK_CMD_ESWITCH_GET, bus, device)
        return next((_MODES.get(each.get_attr("DEVLINK_ATTR_ESWITCH_MODE")) for each in answers), None)

    def set_mode(self, bus: str, device: str, mode: devices.EswitchMode) -> None:
        """Set the mode. The card must have no VFs: mlx5 refuses with VFs, or makes new ones (eswitch_offloads.c)."""
        wanted = ["DEVLINK_ATTR_ESWITCH_MODE", _NUMBERS[mode]]
        with devlink.refusals(f"set the eswitch mode of {bus}/{device} to {mode.value}", _REMEDY):
            self.request(_messages.DEVLINK_CMD_ESWITCH_SET, bus, device, wanted, flags=_ACK)
