"""The end of the node's table of nftables for host links: it is no pod's, so nothing else takes it away."""

from sriov import errors
from sriov.linux import kernel

PREFIX = "svl"
"""Names of host links on the node begin with it."""
TABLE_NAME = "sriov-underlay"
TABLE = f"inet {TABLE_NAME}"


def is_unused(net: kernel.Kernel) -> bool:
    """Report whether the table is there, and no host link. Raises KernelError."""
    return _is_there(net) and not any(each.name.startswith(PREFIX) for each in net.links())


def _is_there(net: kernel.Kernel) -> bool:
    try:
        return bool(net.nft_comment(TABLE_NAME))
    except errors.KernelError:
        return False  # a kernel without nftables has none


def remove(net: kernel.Kernel) -> None:
    """Remove the table, also if somebody else has done so meanwhile. Raises KernelError or UnsupportedError."""
    net.run_nft(f"add table {TABLE}\ndelete table {TABLE}")
