"""Documents for programs, as types: `--output json` and `yaml` print them, `sriovctl schema` describes them. Pure.

Within a version keys are added, never renamed or removed. Unknown values are null. `unseen` is what could not be read.
"""

from typing import Any, Literal

import msgspec

from deviceplugin import dry_run


class OwnerItem(msgspec.Struct, frozen=True, rename="camel"):
    """`attached` is false if the kubelet has given the device and no ADD has come. `attachedBy` is who did that."""

    namespace: str | None
    pod: str | None
    container_id: str | None
    interface: str | None
    network: str | None
    attached: bool
    attached_by: Literal["sriov-underlay", "sriov-cni"] | None

    def __str__(self) -> str:
        if self.pod is not None:
            return f"{self.namespace}/{self.pod}"
        return "unknown" if self.container_id is None else f"container {self.container_id[:12]}"


class InventoryItem(msgspec.Struct, frozen=True, rename="camel"):
    """A PF or VF. `link` is up, down or no carrier; `health` is the kubelet's word, null outside of pools.

    `netdev` is null while the VF is in a pod, or if it has none. `speedMbps` is the PF's. `numVfs` and `totalVfs` are
    how many VFs a PF has and can have.
    """

    device: str
    role: str
    pf: str | None
    index: int | None
    netdev: str | None
    driver: str | None
    vendor_id: str
    device_id: str
    numa_node: int | None
    link_type: str | None
    link: str | None
    speed_mbps: int | None
    mtu: int | None
    num_vfs: int | None
    total_vfs: int | None
    pool: str | None
    health: str | None
    reason: str | None
    owner: OwnerItem | None
    mac: str | None
    vlan: int | None


class AttachmentsItem(msgspec.Struct, frozen=True, rename="camel"):
    """A VF that the records say a pod has: the ledger's, or those that sriov-cni left. `since` is RFC 3339, in UTC;
    `heldByPod` is by the kubelet's report."""

    device: str
    state: str
    namespace: str | None
    pod: str | None
    container_id: str | None
    interface: str | None
    network: str | None
    netns: str | None
    since: str | None
    mac: str | None
    vlan: int | None
    host_name: str | None
    held_by_pod: str | None
    attached_by: Literal["sriov-underlay", "sriov-cni"]


class FindingsItem(msgspec.Struct, frozen=True):
    """What doctor found."""

    finding: str
    severity: Literal["error", "warning", "info"]
    subject: str
    evidence: str
    remedy: str


class ExplanationItem(msgspec.Struct, frozen=True):
    """A step of the chain."""

    step: str
    question: str
    answer: Literal["yes", "no", "cannot tell"]
    evidence: str
    remedy: str | None


class PodPolicyItem(msgspec.Struct, frozen=True, rename="camel"):
    """Packets that may pass to or from a pod, or may not. `peers` and `ports` null are all, or all that are left.

    `policies` let them pass or, if they do not pass, select the pod. `passes` is null if that is not known.
    """

    interface: str
    network: str | None
    direction: Literal["ingress", "egress"]
    peers: list[str] | None
    ports: list[str] | None
    passes: bool | None
    reason: Literal["policy", "isolated", "unselected", "node", "off", "unknown"]
    policies: list[str]


class PodPolicyInterface(msgspec.Struct, frozen=True, rename="camel"):
    """An interface, and whether the kernel has just what its policies say; null if that cannot be told."""

    interface: str
    device: str
    in_force: bool | None
    evidence: str


class TopologyItem(msgspec.Struct, frozen=True):
    """A thing on PCIe, and what is below it."""

    kind: str
    id: str
    label: str
    children: "list[TopologyItem]"


class AlignmentItem(msgspec.Struct, frozen=True, rename="camel"):
    """A GPU, and how many healthy VFs that nobody has are below its PCIe root, by resource.

    `nearVfs` are those that it reaches without the host bridge. `coarse`: some are, and some are not.
    """

    gpu: str
    pcie_root: str
    free_vfs: dict[str, int]
    near_vfs: dict[str, int]
    coarse: bool


class ProvisionPlanItem(msgspec.Struct, frozen=True):
    """A step. `vf` is the VF's index, null for the PF itself; `now` is null if nothing is known of it."""

    pf: str
    vf: int | None
    device: str
    setting: str
    now: str | None
    then: str


class ChecksItem(msgspec.Struct, frozen=True):
    """A file, or a part of one. `kind` is null if it is none of these programs' files."""

    file: str
    kind: str | None
    errors: list[str]
    warnings: list[str]


class TrafficItem(msgspec.Struct, frozen=True):
    """A figure of one way between two pods: its median, that over the first way's, and the value of each round."""

    figure: str
    way: str
    median: float
    ratio: float
    rounds: list[float]


class PrintedDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind"):
    """What a command prints."""

    api_version: Literal["sriovctl/v1"] = "sriovctl/v1"
    unseen: list[str] = []


class InventoryDocument(PrintedDocument, frozen=True, tag="Inventory"):
    """What `inventory` prints."""

    items: list[InventoryItem]


class AttachmentsDocument(PrintedDocument, frozen=True, tag="Attachments"):
    """What `attachments` prints."""

    items: list[AttachmentsItem]


class FindingsDocument(PrintedDocument, frozen=True, tag="Findings"):
    """What `doctor` prints."""

    items: list[FindingsItem]


class ExplanationDocument(PrintedDocument, frozen=True, tag="Explanation"):
    """What `explain` prints. `about` is the pod or device; `reason` is the first step with a no, null for none."""

    about: str
    reason: str | None
    items: list[ExplanationItem]


class PodPolicyDocument(PrintedDocument, frozen=True, tag="PodPolicy"):
    """What `policy` prints. `about` is the pod."""

    about: str
    interfaces: list[PodPolicyInterface]
    items: list[PodPolicyItem]


class TopologyDocument(PrintedDocument, frozen=True, tag="Topology"):
    """What `topology` prints."""

    items: list[TopologyItem]
    alignment: list[AlignmentItem]


class ProvisionPlanDocument(PrintedDocument, frozen=True, tag="ProvisionPlan"):
    """What `provision` prints. `applying` is whether the plan is carried out after this."""

    notes: list[str]
    refusals: list[str]
    applying: bool
    items: list[ProvisionPlanItem]


class ChecksDocument(PrintedDocument, frozen=True, tag="Checks"):
    """What `check` prints."""

    items: list[ChecksItem]


class TrafficDocument(PrintedDocument, frozen=True, tag="Traffic"):
    """What `kubectl sriov traffic` prints. `sender` and `receiver` are nodes."""

    network: str
    sender: str
    receiver: str
    items: list[TrafficItem]


_MERGED = msgspec.json.Decoder(InventoryDocument | AttachmentsDocument | FindingsDocument)
_EXPLANATION = msgspec.json.Decoder(ExplanationDocument)


def of_a_node(text: str) -> InventoryDocument | AttachmentsDocument | FindingsDocument:
    """Read what sriovctl printed elsewhere. Raises ValueError; keys that are new are passed over."""
    found: InventoryDocument | AttachmentsDocument | FindingsDocument = _MERGED.decode(text)
    return found


def explanation(text: str) -> ExplanationDocument:
    """Read what `explain` printed elsewhere. Raises ValueError."""
    return _EXPLANATION.decode(text)


KINDS = (
    *(InventoryDocument, AttachmentsDocument, FindingsDocument, ExplanationDocument, PodPolicyDocument),
    *(TopologyDocument, ProvisionPlanDocument, ChecksDocument, TrafficDocument, dry_run.DryRunDocument),
)


def plain(document: PrintedDocument) -> dict[str, Any]:
    """Return the document as dicts and lists, with version and kind first."""
    found: dict[str, Any] = msgspec.to_builtins(document)
    return {key: found.pop(key) for key in ("apiVersion", "kind", "unseen")} | found


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of all documents. Every key is there; a later version 1 may have more."""
    references, parts = msgspec.json.schema_components(KINDS, ref_template="#/$defs/{name}")
    for part in parts.values():
        part["required"] = list(part["properties"])
        for each in part["properties"].values():
            each.pop("default", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "documents of sriovctl/v1",
        "oneOf": list(references),
        "$defs": parts,
    }
