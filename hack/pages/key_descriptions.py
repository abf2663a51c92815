"""Meanings of keys that no other page has a table of. hack/pages/reference.py fails if one is missing."""

SELECTORS = {
    "vendors": "with this PCI vendor, as in `15b3`",
    "devices": "with this PCI device ID, as in `101e`; for an `auxNetDevice`: its parent's",
    "drivers": "with this driver, as in `iavf`; for an `auxNetDevice`: its parent's",
    "pciAddresses": "at this address, as in `0000:03:02.1`",
    "acpiIndexes": "with this `acpi_index` in sysfs",
    "pfNames": "of the PF with this netdev; `ens1f0#0-3,5` is its VFs 0 to 3 and 5, `#0-1` those of any PF",
    "rootDevices": "of the PF at this address; ranges as in `pfNames`",
    "linkTypes": "with this link: `ether`, `infiniband`",
    "ddpProfiles": "whose PF runs this DDP profile, as `devlink dev info` shows it",
    "pKeys": "with this InfiniBand partition key, as a number in hex",
    "isRdma": "with RDMA; the container gets their character devices",
    "needVhostNet": "all; the container also gets `/dev/vhost-net` and `/dev/net/tun`",
    "vdpaType": "with a vDPA device of this type: `vhost`, `virtio`; not together with `isRdma`",
    "auxTypes": "of this kind on the auxiliary bus: `sf`; required there",
}

POLICY = {
    "pfs": "the rule is for these PFs, by netdev or PCI address; if left out, for all",
    "vlans": "VLANs that may be requested, as `100-199` or `300`; `0` is untagged",
    "trust": "whether `trust: on` may be requested",
    "spoofchkOff": "whether spoof checking may be switched off",
    "macPrefixes": "allowed beginnings of a requested MAC, in lower case, as in `02:00`",
    "services": "modes that may be in effect, by the network or by `defaults`: one alone is demanded",
    "hostLink": "whether there may be a host link: `[false]` forbids it, `[true]` demands it",
    "viaHost": "networks that every network of `viaHost` has to be in",
    "hostLinkAddresses": "networks that every address of `hostLinkAddresses` has to be in",
    "policy": "modes that may be in effect: without `off` [network policies](policy.md) are demanded",
    "policyUnknown": "values that may be in effect where policies hold: without `allow`, no pod passes them unknown",
    "policyRaw": "whether policies may hold for packet sockets: `[true]` demands it where policies hold",
}
DEFAULTS = {
    "services": "how pods reach Services",
    "hostLink": "whether pods have a [host link](host-link.md), or its name",
    "viaHost": "networks that they reach through the node",
    "hostLinkUdp": "whether answers to UDP that came in by the host go back by it",
    "policy": "which [network policies](policy.md) hold for pods",
    "policyUnknown": "what happens where policies hold, while the node does not know the pod's",
    "policyRaw": "whether policies hold for packet sockets, where they hold",
}
