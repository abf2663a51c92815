"""Devlink socket, and what a device reports about itself: apart from `netlink`, for the device plugin.

The device plugin opens it only if a configuration needs it, since pyroute2 takes long to import. Nothing here changes
anything; `eswitch`, built on this module, does. The kernel requires no capability (net/devlink/netlink_gen.c:
DEVLINK_CMD_INFO_GET has no GENL_ADMIN_PERM); instances are those of the network namespace that the socket is opened in.
"""

import contextlib
import errno
from collections.abc import Iterator, Mapping
from typing import Any

from sriov import devices, errors
from sriov.linux.messages import pyroute2_parts

_base = pyroute2_parts.part("netlink")
_messages = pyroute2_parts.part("netlink.devlink")
_AsyncSocket: Any = pyroute2_parts.part("netlink.generic").AsyncGenericNetlinkSocket
_BlockingSocket: Any = pyroute2_parts.part("netlink.generic").GenericNetlinkSocket

# Documentation/networking/devlink/devlink-info.rst: the name of the DDP package that ice has loaded into the NIC.
_DDP_PROFILE = "fw.app.name"
_RUNNING = "DEVLINK_ATTR_INFO_VERSION_RUNNING"
_ABSENT = frozenset({errno.ENODEV, errno.EOPNOTSUPP})


class _Family(_AsyncSocket):  # type: ignore[misc]
    module_err_level = "debug"  # the error alone reports a kernel without devlink


class _Socket(_BlockingSocket):  # type: ignore[misc]
    async_class = _Family


class Devlink:
    """Client of devlink. Belongs to one thread. Raises KernelError if the kernel has no devlink."""

    def __init__(self) -> None:
        with refusals("look for devlink"):
            self._socket = _Socket()
        with contextlib.ExitStack() as undo, refusals("look for devlink"):
            undo.callback(self.close)
            self._socket.bind("devlink", _messages.devlinkcmd)
            undo.pop_all()

    def close(self) -> None:
        self._socket.close()

    def ddp_profile(self, pci: devices.PciAddress) -> str | None:
        """Return the name of the profile that a NIC runs; None if it reports none. Raises KernelError."""
        return self.running("pci", pci).get(_DDP_PROFILE)

    def running(self, bus: str, device: str) -> Mapping[str, str]:
        """Return the versions in use by name; none if there is no such instance, or its driver reports nothing."""
        with refusals(f"read the versions of {bus}/{device}"):
            answers = self.ask(_messages.DEVLINK_CMD_INFO_GET, bus, device)
        return dict(_version(each) for answer in answers for each in answer.get_attrs(_RUNNING))

    def ask(self, command: int, bus: str, device: str) -> list[Any]:
        """Return the kernel's answers; none if there is no such instance, or its driver does not know the command."""
        try:
            return self.request(command, bus, device)
        except _base.NetlinkError as error:
            if error.code not in _ABSENT:
                raise
            return []

    def request(self, command: int, bus: str, device: str, *further: list[Any], flags: int = 0) -> list[Any]:
        """Send one request about one device. Raises what pyroute2 raises: for use inside `refusals`."""
        message = _messages.devlinkcmd()
        message["cmd"] = command
        message["version"] = 1
        message["attrs"] = [["DEVLINK_ATTR_BUS_NAME", bus], ["DEVLINK_ATTR_DEV_NAME", device], *further]
        return list(self._socket.nlm_request(message, self._socket.prid, _base.NLM_F_REQUEST | flags))


def _version(nested: Any) -> tuple[str, str]:
    return nested.get_attr("DEVLINK_ATTR_INFO_VERSION_NAME"), nested.get_attr("DEVLINK_ATTR_INFO_VERSION_VALUE")


@contextlib.contextmanager
def refusals(request: str, remedy: str = "") -> Iterator[None]:
    """Turn what pyroute2 raises into a KernelError, also if the rules of a container forbid such a socket."""
    try:
        yield
    except _base.NetlinkError as error:
        raise errors.KernelError(request, error.code, remedy) from error
    except OSError as error:
        raise errors.KernelError(request, error.errno or errno.EIO, remedy) from error
