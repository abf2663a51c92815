"""Meanings of keys that no other page has a table of. hack/pages/reference.py fails if one is missing."""

SELECTORS = {
    "vendors": "with this PCI vendor, as in `15b3`",
    "devices": "with this PCI device id, as in `101e`; of an `auxNetDevice`: its parent's",
    "drivers": "with this driver, as in `iavf`; of an `auxNetDevice`: its parent's",
    "pciAddresses": "at this address, as in `0000:03:02.1`",
    "acpiIndexes": "with this `acpi_index` in sysfs",
    "pfNames": "of the PF with this netdev; `ens1f0#0-3,5` is its VFs 0 to 3 and 5, `#0-1` those of any PF",
    "rootDevices": "of the PF at this address; ranges as in `pfNames`",
    "linkTypes": "with this link: `ether`, `infiniband`",
    "ddpProfiles": "whose PF runs this DDP profile, as `devlink dev info` shows it",
    "pKeys": "with this InfiniBand partition key, as a number in hex",
    "isRdma": "with RDMA, and hands out its character devices",
    "needVhostNet": "all; hands out `/dev/vhost-net` and `/dev/net/tun` with them",
    "vdpaType": "with a vDPA device of this type: `vhost`, `virtio`; not together with `isRdma`",
    "auxTypes": "of this kind on the auxiliary bus: `sf`; required there",
}

POLICY = {
    "pfs": "the rule is about these PFs, by netdev or PCI address; left out: about all",
    "vlans": "VLANs that may be asked for, as `100-199` or `300`; `0` is untagged",
    "trust": "whether `trust: on` may be asked for",
    "spoofchkOff": "whether spoof checking may be switched off",
    "macPrefixes": "how a MAC that is asked for begins, in lower case, as in `02:00`",
}
