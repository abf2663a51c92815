"""ethtool's older interface, for what only it can do: flow rules, and RSS before Linux 6.17. Part of netlink.

Source: include/uapi/linux/ethtool.h, SIOCETHTOOL; pyroute2 has neither.
"""

import ctypes
import errno
import fcntl
import socket
import struct

from sriov.linux import kernel

RULES = "flow rules"
_SIOCETHTOOL = 0x8946
_COUNT, _LIST, _DELETE, _SET_RSS = 0x2E, 0x30, 0x31, 0x47  # ETHTOOL_GRXCLSRLCNT, GRXCLSRLALL, SRXCLSRLDEL, SRSSH
_RXNFC_SIZE, _LOCATION_AT, _COUNT_AT, _LIST_AT = 192, 176, 184, 188  # struct ethtool_rxnfc
_RXFH = struct.Struct("=IIIIBBxxI")  # struct ethtool_rxfh: command, context, sizes, hash function, transformation
_HASH, _TABLE, _KEY = "rss.3", "rss.4", "rss.5"  # ETHTOOL_A_RSS_HFUNC, INDIR, HKEY
_SILENT = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.ENETDOWN})


class Older:
    """Client of the calling thread's namespace. Belongs to one thread; links are addressed by name."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        self._socket.close()

    def rules(self, name: str) -> dict[str, bytes]:
        """Return how many rules steer this link's flows to queues, if its driver has such rules."""
        try:
            return {RULES: self._rxnfc(name, _COUNT)[_COUNT_AT : _COUNT_AT + 4]}
        except OSError as error:
            if error.errno not in _SILENT:
                raise
            return {}

    def drop_rules(self, name: str) -> None:
        """Delete all rules. Raises OSError."""
        [count] = struct.unpack("=I", self._rxnfc(name, _COUNT)[_COUNT_AT : _COUNT_AT + 4])
        listed = self._rxnfc(name, _LIST, count)
        for location in struct.unpack_from(f"={count}I", listed, _LIST_AT):
            self._rxnfc(name, _DELETE, location=location)

    def set_rss(self, name: str, noted: kernel.LinkState) -> None:
        """Set all of RSS: hash function, key and table. Raises OSError."""
        table, key = noted.get(_TABLE, b""), noted.get(_KEY, b"")
        [function] = struct.unpack("=I", noted.get(_HASH, bytes(4)))
        self._ask(name, _RXFH.pack(_SET_RSS, 0, len(table) // 4, len(key), function, 0, 0) + table + key)

    def _rxnfc(self, name: str, command: int, count: int = 0, location: int = 0) -> bytes:
        request = bytearray(_RXNFC_SIZE + 4 * count)
        struct.pack_into("=I", request, 0, command)
        struct.pack_into("=I", request, _LOCATION_AT, location)
        struct.pack_into("=I", request, _COUNT_AT, count)
        return self._ask(name, bytes(request))

    def _ask(self, name: str, request: bytes) -> bytes:
        asked = ctypes.create_string_buffer(request, len(request))
        interface = struct.pack("=16sQ16x", name.encode(), ctypes.addressof(asked))  # struct ifreq
        fcntl.ioctl(self._socket, _SIOCETHTOOL, interface)
        return asked.raw
