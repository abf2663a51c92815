"""Dry run without a kubelet: the pool that each device goes to, and why not to the others.

For people as a table, for programs as JSON. Pure: its caller reads the node.
"""

import json
from collections.abc import Sequence
from typing import Literal

import msgspec

from sriov import layout
from sriov.hardware import node_devices
from sriov.pools import assignment, health, resources

_COLUMNS = (
    layout.Column("DEVICE"),
    layout.Column("WHAT", leaves=4),
    layout.Column("PF", leaves=3),
    layout.Column("DRIVER", leaves=1),
    layout.Column("NETDEV", leaves=2),
    layout.Column("RESOURCE"),
    layout.Column("HEALTH", leaves=5),
    layout.Column("WHY", prose=True),
)


class PlacedDevice(msgspec.Struct, frozen=True):
    """One device. `resource` is its pool's, null if it has none; `why_not` and `whyNot`, which are the same, are by
    resource, for the other pools. `ailment` is why it is not healthy."""

    device: str
    what: str
    pf: str | None
    driver: str | None
    netdevs: tuple[str, ...]
    resource: str | None
    ailment: str | None
    why_not: dict[str, str]
    whyNot: dict[str, str]  # noqa: N815  # the document's other keys are written so; why_not was there first


def rows(
    catalog: node_devices.Catalog, configuration: resources.Configuration, now: health.Conditions
) -> list[PlacedDevice]:
    """Return a row for every candidate, in the catalog's order."""
    dealt = assignment.assign(catalog, configuration, now)
    identities = {device.id: (pool.resource, device.ailment) for pool in dealt for device in pool.devices}
    return [_row(one, configuration, now, *identities.get(one.id, (None, None))) for one in catalog.candidates.values()]


def _row(
    one: node_devices.Candidate,
    configuration: resources.Configuration,
    now: health.Conditions,
    home: str | None,
    ailment: str | None,
) -> PlacedDevice:
    why_not = {}
    for resource in configuration.resources:
        reason = assignment.why_not(resource, one, now)
        if reason is not None:
            why_not[resource.full_name] = reason
        elif resource.full_name != home:
            why_not[resource.full_name] = f"{home} comes first in the file"
    pf = None if one.pf is None else f"{one.pf_netdev or one.pf}#{one.index}"
    return PlacedDevice(one.id, one.role.value, pf, one.driver, one.netdevs, home, ailment, why_not, why_not)


class DryRunDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="DryRun"):
    """What `sriov-device-plugin --dry-run --output json` prints. `resources` has the number of devices of each.

    With `errors` the configuration cannot be used, and nothing else is known.
    """

    api_version: Literal["sriovctl/v1"] = "sriovctl/v1"
    unseen: list[str] = []
    errors: list[str] = []
    warnings: list[str] = []
    resources: dict[str, int] = {}
    devices: list[PlacedDevice] = []


def document(configuration: resources.Configuration, listed: Sequence[PlacedDevice]) -> DryRunDocument:
    totals = {each.full_name: sum(row.resource == each.full_name for row in listed) for each in configuration.resources}
    return DryRunDocument(warnings=list(configuration.warnings), resources=totals, devices=list(listed))


def as_json(found: DryRunDocument) -> str:
    """Encode the document, with version and kind first."""
    shown = msgspec.to_builtins(found)
    return json.dumps({key: shown.pop(key) for key in ("apiVersion", "kind", "unseen")} | shown, indent=1)


def as_table(configuration: resources.Configuration, listed: Sequence[PlacedDevice], room: int | None) -> str:
    """Return a line for each device, and one for each resource with its count.

    `room` is the terminal's width, None for a pipe, which gets every column. What is copied is never cut: columns are
    left out and named, and the reason goes on in the next line.
    """
    cells, headings = [_cells(row) for row in listed], [column.heading for column in _COLUMNS]
    whole = sum(max(map(len, each)) + layout.GAP for each in zip(headings, *cells, strict=True))
    room = whole if room is None else room
    placed = layout.place(_COLUMNS, cells, room, whole=room == whole)
    if placed is None:
        lines = [*layout.records(headings, cells), ""]
    else:
        lines = [line.rstrip() for line in layout.lines(headings, cells, placed.widths)]
        lines += layout.hint(placed, room, "widen the terminal")
    for resource in configuration.resources:
        name = resource.full_name
        count = sum(row.resource == name for row in listed)
        lines.append(f"{name}: {count} devices" + ("" if count else ", NOTHING MATCHES"))
    return "\n".join(lines)


def _cells(row: PlacedDevice) -> tuple[str, ...]:
    if row.resource is None:
        reasons = [f"{name}: {why}" for name, why in row.why_not.items()]
        common = set(row.why_not.values())
        why = next(iter(common)) if len(common) == 1 else " | ".join(reasons)
    else:
        why = row.ailment or ""
    health = "-" if row.resource is None else ("Unhealthy" if row.ailment else "Healthy")
    return (
        row.device,
        row.what,
        row.pf or "-",
        row.driver or "-",
        ",".join(row.netdevs) or "-",
        row.resource or "-",
        health,
        why,
    )
