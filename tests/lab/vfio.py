"""Opening a VF as a program in a pod does, through VFIO's groups (include/uapi/linux/vfio.h).

The guest's IOMMU does not remap interrupts, and without that VFIO refuses every group with EPERM until it is told that
unsafe ones are welcome (drivers/vfio/vfio_iommu_type1.c).
"""

import contextlib
import fcntl
import os
import pathlib
import struct
from collections.abc import Iterator

_UNSAFE_INTERRUPTS = pathlib.Path("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
_GET_API_VERSION, _CHECK_EXTENSION, _SET_IOMMU, _GET_STATUS, _SET_CONTAINER = (0x3B00 | 100 + n for n in range(5))
_GET_DEVICE_FD, _GET_REGION_INFO = 0x3B00 | 106, 0x3B00 | 108
_TYPE1_IOMMU = 1
_VIABLE = 1  # VFIO_GROUP_FLAGS_VIABLE
_CONFIG_REGION = 7  # VFIO_PCI_CONFIG_REGION_INDEX


def pci_ids(container: str, group: str, pci: str) -> tuple[int, int]:
    """Vendor and device from the VF's config space, read through the group with an IOMMU behind it. Raises OSError."""
    with opened(group, pci, container) as device:
        return _config_space(device)


@contextlib.contextmanager
def opened(group: str, pci: str, container: str = "/dev/vfio/vfio") -> Iterator[int]:
    """The VF's descriptor. Raises OSError."""
    _UNSAFE_INTERRUPTS.write_text("Y")
    with _opened(container) as iommu, _opened(group) as members:
        assert fcntl.ioctl(iommu, _GET_API_VERSION) == 0
        status = bytearray(struct.pack("II", 8, 0))
        fcntl.ioctl(members, _GET_STATUS, status)
        assert struct.unpack("II", status)[1] & _VIABLE
        fcntl.ioctl(members, _SET_CONTAINER, struct.pack("i", iommu))
        fcntl.ioctl(iommu, _SET_IOMMU, _TYPE1_IOMMU)
        device = fcntl.ioctl(members, _GET_DEVICE_FD, bytearray(pci.encode() + b"\0"))
        try:
            yield device
        finally:
            os.close(device)


def _config_space(device: int) -> tuple[int, int]:
    region = bytearray(struct.pack("IIIIQQ", 32, 0, _CONFIG_REGION, 0, 0, 0))
    fcntl.ioctl(device, _GET_REGION_INFO, region)
    offset = struct.unpack("IIIIQQ", region)[5]
    vendor, model = struct.unpack("<HH", os.pread(device, 4, offset))
    return vendor, model


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
