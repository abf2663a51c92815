"""The request of an ADD for its VF: the keys of the network configuration and CNI_ARGS, decoded, checked and frozen.

Keys are those of sriov-cni, and `mtu`. A key with a wrong JSON type is a decoding failure (6), a value out of range an
invalid configuration (7), a value that no VF can have an unsupported field (2); each names key, value and remedy.
"""

import re
from typing import Any

import msgspec

from sriov import devices, errors, settings
from sriov_cni.spec import cni_errors, environment, host_links, netconf, policy_modes, result, service_modes
from sriov_cni.spec.cni_errors import Code

_PKEY = re.compile(r"(0[xX])?[0-9a-fA-F]{1,16}")
_MTU = (68, 65535)  # RFC 791's minimum; the kernel and the driver have their own maximum


class _Ipam(msgspec.Struct, frozen=True):
    type: str | None = None


class _RuntimeConfig(msgspec.Struct, frozen=True, rename="camel"):
    mac: str | None = None
    device_id: str | None = msgspec.field(default=None, name="deviceID")
    infiniband_guid: str | None = msgspec.field(default=None, name="infinibandGUID")


class Asked(msgspec.Struct, frozen=True):
    """The keys that are read, by their JSON types. `null` is an absent key, as in Go."""

    device_id: str | None = msgspec.field(default=None, name="deviceID")
    resource_name: str | None = msgspec.field(default=None, name="resourceName")
    claims: Any = None  # read in claim_modes
    vlan: int | None = None
    vlan_qos: int | None = msgspec.field(default=None, name="vlanQoS")
    vlan_proto: str | None = msgspec.field(default=None, name="vlanProto")
    mac: str | None = None
    spoofchk: str | None = None
    trust: str | None = None
    link_state: str | None = None
    min_tx_rate: int | None = None
    max_tx_rate: int | None = None
    mtu: int | None = None
    allmulti: str | None = None
    rdma_isolation: bool | None = msgspec.field(default=None, name="rdmaIsolation")
    guid: str | None = None
    pkey: str | None = None
    services: str | None = None
    policy: str | None = None
    policy_unknown: str | None = msgspec.field(default=None, name="policyUnknown")
    policy_raw: bool | None = msgspec.field(default=None, name="policyRaw")
    host_link: bool | str | None = msgspec.field(default=None, name="hostLink")
    via_host: list[str] | None = msgspec.field(default=None, name="viaHost")
    host_link_udp: bool | None = msgspec.field(default=None, name="hostLinkUdp")
    host_link_addresses: list[str] | None = msgspec.field(default=None, name="hostLinkAddresses")
    vlan_trunk: Any = msgspec.field(default=None, name="vlanTrunk")
    ipam: _Ipam | None = None
    dns: result.Dns | None = None
    runtime_config: _RuntimeConfig | None = msgspec.field(default=None, name="runtimeConfig")


_FIELDS = {field.encode_name: (field.name, msgspec.json.Decoder(field.type)) for field in msgspec.structs.fields(Asked)}
"""By JSON key: stdin is decoded by key already, so that each value has a decoder of its own."""

KEYS = frozenset(_FIELDS) - {"runtimeConfig"}
"""Keys of this plugin in a network configuration, without those that every CNI configuration has."""


class VfRequest(msgspec.Struct, frozen=True):
    """What ADD asks for, checked. `mtu` None keeps the VF's; `pci` None leaves it to the kubelet, by `resource`.

    `wanted` has the baseline if nothing is named; of what a node may declare, `named` is what the network names.
    `rdma` None leaves it to the node whether RDMA devices move, `services` None how the pod reaches Services;
    `no_host_link` says that the network wants none, whatever the node's default is, and `host_link_udp` None leaves
    answers to datagrams to the node.
    """

    pci: devices.PciAddress | None
    wanted: settings.VfSettings
    named: settings.Switches
    mtu: int | None
    allmulti: bool = False
    resource: str = ""
    rdma: bool | None = None
    dns: result.Dns = msgspec.field(default_factory=result.Dns)
    pkey: int | None = None
    services: service_modes.ServicesMode | None = None
    host_link: host_links.HostLinkWish | None = None
    no_host_link: bool = False
    host_link_udp: bool | None = None
    policy: policy_modes.PolicyWish = policy_modes.PolicyWish()


def read(document: netconf.Document, args: environment.Arguments) -> VfRequest:
    """Check what an ADD asks for, CNI_ARGS included. Raises CniError with code 2, 4, 5, 6 or 7."""
    asked = _asked(document)
    _check_ipam(asked)
    _refuse_trunk(asked)
    device = _device(asked)
    environment.refuse_invalid(args)
    services = _services(asked.services)
    try:
        return VfRequest(
            None if device is None else devices.pci_address(device),
            _wanted(asked, args),
            _named(asked),
            None if asked.mtu is None else settings.in_range("mtu", asked.mtu, *_MTU),
            _switch("allmulti", asked.allmulti) or False,
            asked.resource_name or "",
            asked.rdma_isolation,
            asked.dns or result.Dns(),
            _pkey(asked.pkey),
            services,
            host_links.read(
                asked.host_link,
                asked.via_host,
                services,
                udp=bool(asked.host_link_udp),
                addresses=asked.host_link_addresses,
                has_ipam=bool(asked.ipam and asked.ipam.type),
            ),
            asked.host_link in (False, ""),
            asked.host_link_udp,
            policy_modes.read(
                asked.policy,
                asked.policy_unknown,
                asked.policy_raw,
                ipam=asked.ipam.type if asked.ipam else None,
            ),
        )
    except errors.SriovError as error:
        raise cni_errors.from_sriov(error) from error


def _asked(document: netconf.Document) -> Asked:
    given = ((key, raw, *_FIELDS[key]) for key, raw in netconf.values(document).items() if key in _FIELDS)
    return Asked(**{name: netconf.value(key, raw, decoder) for key, raw, name, decoder in given})


def _check_ipam(asked: Asked) -> None:
    plugin = asked.ipam.type if asked.ipam else None
    if plugin and not netconf.is_plugin(plugin):
        raise netconf.invalid(f"ipam.type {plugin!r} is not a plugin's name", "write the name of a file on CNI_PATH")


def _refuse_trunk(asked: Asked) -> None:
    if asked.vlan_trunk:
        raise cni_errors.CniError(
            Code.UNSUPPORTED_FIELD,
            f"vlanTrunk {asked.vlan_trunk!r}: no driver takes a list of VLANs for a VF through the kernel's netlink",
            "set one `vlan`, or leave both out and tag in the pod",
        )


def _device(asked: Asked) -> str | None:
    injected = asked.runtime_config.device_id if asked.runtime_config else None
    if injected and asked.device_id and injected != asked.device_id:
        raise netconf.invalid(
            f"deviceID {asked.device_id!r} and runtimeConfig.deviceID {injected!r} differ", "leave one of them out"
        )
    device = injected or asked.device_id or None
    if device is None and not asked.resource_name:
        raise netconf.invalid(
            "VF pci addr is required: the configuration has no deviceID and no resourceName",
            "let Multus fill deviceID in from the annotation k8s.v1.cni.cncf.io/resourceName, or write one of them",
        )
    return device


def _wanted(asked: Asked, args: environment.Arguments) -> settings.VfSettings:
    mac, guid = _mac(asked, args), _guid(asked)
    return settings.check(
        _named(asked).over(
            settings.VfSettings(
                mac=settings.mac(mac) if mac else settings.NO_MAC,
                vlan=asked.vlan or 0,
                qos=asked.vlan_qos or 0,
                proto=settings.proto(asked.vlan_proto or settings.VlanProto.Q.value),
                link_state=_link_state(asked.link_state),
                min_tx_rate=asked.min_tx_rate or 0,
                max_tx_rate=asked.max_tx_rate or 0,
                guid=settings.guid(guid) if guid else "",
            )
        )
    )


def _named(asked: Asked) -> settings.Switches:
    return settings.Switches(trust=_switch("trust", asked.trust), spoofchk=_switch("spoofchk", asked.spoofchk))


def _mac(asked: Asked, args: environment.Arguments) -> str | None:
    """Take the MAC from runtimeConfig, then CNI_ARGS, then the configuration (CNI CONVENTIONS.md)."""
    runtime = asked.runtime_config.mac if asked.runtime_config else None
    return runtime or args.mac or asked.mac


def _guid(asked: Asked) -> str | None:
    """Take the GUID from runtimeConfig first, which ib-kubernetes fills in."""
    runtime = asked.runtime_config.infiniband_guid if asked.runtime_config else None
    return runtime or asked.guid


def _pkey(text: str | None) -> int | None:
    """Parse a partition key as ib-sriov-cni writes it, in hex: 0x8001."""
    if not text:
        return None
    if not _PKEY.fullmatch(text):
        raise netconf.invalid(f"pkey {text!r} is not a partition key", "write it in hex, as in 0x8001")
    return settings.in_range("pkey", int(text, 16), 1, 0xFFFF)


def _services(value: str | None) -> service_modes.ServicesMode | None:
    try:
        return service_modes.ServicesMode(value) if value else None
    except ValueError:
        *most, last = (f'"{each}"' for each in service_modes.ServicesMode)
        raise cni_errors.CniError(
            Code.UNSUPPORTED_FIELD,
            f"services {value!r} is no way to reach Services",
            f"write {', '.join(most)} or {last}",
        ) from None


def _switch(key: str, value: str | None) -> bool | None:
    if not value:
        return None
    if value not in ("on", "off"):
        raise cni_errors.CniError(
            Code.UNSUPPORTED_FIELD, f"{key} {value!r} is neither on nor off", 'write "on" or "off"'
        )
    return value == "on"


def _link_state(value: str | None) -> settings.LinkState:
    try:
        return settings.LinkState(value or "auto")
    except ValueError:
        known = ", ".join(each.value for each in settings.LinkState)
        raise cni_errors.CniError(
            Code.UNSUPPORTED_FIELD, f"invalid link_state value: {value}", f"use one of {known}"
        ) from None
