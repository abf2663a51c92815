"""Answers of several nodes as one document, of the same kind, whose items name their node. Pure.

A node that did not answer is named in `unseen`, so that its absence is never taken for "nothing is there".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sriovctl import exit_codes, output
from sriovctl.cluster import kubectl
from sriovctl.views import attachments, devices, documents, findings

_NODE = output.Column("NODE")
OTHER_RELEASE = "its sriovctl is of another release"


class Report(msgspec.Struct, frozen=True):
    """Document that a node printed, and its exit status; or, in `trouble`, why there is none."""

    node: str
    status: int | None
    document: Mapping[str, Any] | None = None
    trouble: str = ""


_KINDS: Mapping[str, tuple[Any, Any]] = {
    "Inventory": (list[documents.InventoryItem], devices.table),
    "Attachments": (list[documents.AttachmentsItem], attachments.table),
    "Findings": (list[documents.FindingsItem], findings.table),
}


def report(node: str, answer: kubectl.Answer) -> Report:
    """Read what sriovctl or kubectl printed. Keys that a newer sriovctl has are kept."""
    try:
        found = json.loads(answer.out)
        items, _ = _KINDS[found["kind"]]
        msgspec.convert(found["items"], items)
        return Report(node, answer.status, {**found, "unseen": list(found["unseen"])})
    except (ValueError, KeyError, TypeError, msgspec.ValidationError):
        return Report(node, answer.status, trouble=answer.trouble or OTHER_RELEASE)


def document(kind: str, reports: Sequence[Report]) -> dict[str, Any]:
    """Merge the documents: `node` comes first in each item, and stands before each entry of `unseen`."""
    there = [(each.node, each.document) for each in reports if each.document is not None]
    unseen = [f"{node}: {text}" for node, found in there for text in found["unseen"]]
    unseen += [f"{each.node}: {each.trouble}" for each in reports if each.document is None]
    items = [{"node": node, **item} for node, found in there for item in found["items"]]
    return {"apiVersion": "sriovctl/v1", "kind": kind, "unseen": unseen, "items": items}


def table(merged: Mapping[str, Any]) -> output.Table:
    """Return the table that sriovctl itself would print, with the node first."""
    items, make = _KINDS[merged["kind"]]
    made: output.Table = make(msgspec.convert(merged["items"], items))
    rows = [[output.cell(item["node"]), *row] for item, row in zip(merged["items"], made.rows, strict=True)]
    return output.Table([_NODE, *made.columns] if rows else (), rows)


def status(reports: Sequence[Report]) -> exit_codes.Exit:
    """Return 3 if a node was not seen, else 1 if something is wrong on one."""
    if any(each.document is None or each.status == exit_codes.Exit.UNREADABLE for each in reports):
        return exit_codes.Exit.UNREADABLE
    return exit_codes.Exit.TROUBLE if any(each.status for each in reports) else exit_codes.Exit.FINE
