"""Answers of several nodes as one document, of the same kind, whose items name their node. Pure.

A node that did not answer is named in `unseen`, so that its absence is never taken for "nothing is there".
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sriov import layout
from sriovctl import exit_codes, output
from sriovctl.cluster import kubectl
from sriovctl.views import attachments, devices, documents, findings

OTHER_RELEASE = "its sriovctl is of another release"
_NODE = output.Column("NODE")


class Report(msgspec.Struct, frozen=True):
    """Document that a node printed, `raw` with all its keys, and its exit status; or why there is none."""

    node: str
    status: int | None
    document: documents.PrintedDocument | None = None
    raw: Mapping[str, Any] = {}
    trouble: str = ""


def report(node: str, answer: kubectl.Execution) -> Report:
    """Read what sriovctl or kubectl printed."""
    try:
        return Report(node, answer.status, documents.of_a_node(answer.out), json.loads(answer.out))
    except (ValueError, RecursionError):
        return Report(node, answer.status, trouble=answer.trouble or OTHER_RELEASE)


def document(kind: str, reports: Sequence[Report]) -> dict[str, Any]:
    """Merge the documents: `node` comes first in each item, and stands before each entry of `unseen`."""
    there = [each for each in reports if each.document is not None]
    unseen = [f"{each.node}: {text}" for each in there for text in each.raw.get("unseen", [])]
    unseen += [f"{each.node}: {each.trouble}" for each in reports if each.document is None]
    items = [{"node": each.node} | item | {"node": each.node} for each in there for item in each.raw["items"]]
    return {"apiVersion": "sriovctl/v1", "kind": kind, "unseen": unseen, "items": items}


def table(reports: Sequence[Report]) -> output.Table:
    """Return the table that sriovctl itself would print, with the node first."""
    made = [(each.node, _table(each.document)) for each in reports if each.document is not None]
    columns = next((found.columns for _, found in made if found.rows), ())
    rows = [[output.cell(node), *row] for node, found in made for row in found.rows]
    return output.Table([_NODE, *columns] if rows else (), rows)


def _table(found: documents.PrintedDocument) -> output.Table:
    match found:
        case documents.InventoryDocument():
            return devices.table(found.items)
        case documents.AttachmentsDocument():
            return attachments.table(found.items)
        case documents.FindingsDocument():
            return findings.table(found.items)
    raise TypeError(found)


def status(reports: Sequence[Report]) -> exit_codes.Exit:
    """Return 3 if a node was not seen, else 1 if something is wrong on one."""
    if any(each.document is None or each.status == exit_codes.Exit.UNREADABLE for each in reports):
        return exit_codes.Exit.UNREADABLE
    return exit_codes.Exit.TROUBLE if any(each.status for each in reports) else exit_codes.Exit.FINE


def grouped(unseen: Sequence[str]) -> Iterator[str]:
    """Yield once what is the same on several nodes."""
    by_text: dict[str, list[str]] = {}
    for each in unseen:
        node, _, text = each.partition(": ")
        by_text.setdefault(text, []).append(node)
    yield from (f"{layout.some(nodes, 3)}: {text}" for text, nodes in by_text.items())
