"""Settings by link layer: MAC and VLAN are for Ethernet VFs, GUID and partition for InfiniBand VFs.

Each is refused by name for the other kind. The keys for InfiniBand are those of k8snetworkplumbingwg/ib-sriov-cni
(pkg/types/types.go): `guid`, which ib-kubernetes passes as runtimeConfig.infinibandGUID, `link_state` and `pkey`.
"""

from sriov import devices, errors, settings
from sriov.attachment.node import Node
from sriov.hardware.drivers import infiniband
from sriov_cni.spec import vf_request

_FULL_MEMBER = 0x8000  # InfiniBand Architecture Specification 1.2.1, 10.9.1.1


def known(vf: devices.VF) -> frozenset[settings.Setting]:
    """Return the settings that a VF of this kind can have."""
    return settings.INFINIBAND if vf.infiniband else settings.EVERY_SETTING


def check(node: Node, vf: devices.VF, wanted: vf_request.VfRequest) -> None:
    """Raise UnsupportedError for settings that a VF of this kind cannot have, unless the default is what is named."""
    names = sorted(each.value for each in settings.asked(wanted.wanted) - known(vf))
    if wanted.pkey is not None and not vf.infiniband:
        names.append("pkey")
    if names:
        kind = "an InfiniBand VF" if vf.infiniband else "an Ethernet VF"
        raise errors.UnsupportedError(
            f"{', '.join(names)}: not for {kind}, which {vf.pci} is", "leave it out, or use a VF of the other kind"
        )
    if wanted.pkey is not None:
        _check_pkey(node, vf, wanted.pkey)


def _check_pkey(node: Node, vf: devices.VF, pkey: int) -> None:
    """Check the partition. Only the subnet manager can add a port to one; a VF that a program has cannot be checked."""
    if vf.userspace:
        return
    found = infiniband.pkeys(node.tree.pci(vf.pci))
    if not {pkey, pkey | _FULL_MEMBER} & set(found):
        has = ", ".join(f"{each:#06x}" for each in found) or "none"
        raise errors.UnsupportedError(
            f"pkey {pkey:#06x} is not among those of InfiniBand VF {vf.pci}: {has}",
            "have the subnet manager put the VF's GUID into the partition, or leave pkey out",
        )
