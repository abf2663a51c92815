"""Dry run without a kubelet: the pool that each device goes to, and why not to the others.

For people as a table, for programs as JSON. Pure: its caller reads the node.
"""

import json
from collections.abc import Sequence

import msgspec

from sriov.hardware import node_devices
from sriov.pools import assignment, health, resources

_COLUMNS = ("DEVICE", "WHAT", "PF", "DRIVER", "NETDEV", "RESOURCE", "HEALTH", "WHY")


class PlacedDevice(msgspec.Struct, frozen=True):
    """One device. `resource` is its pool's, None if it has none; `why_not` is by resource, for the other pools."""

    device: str
    what: str
    pf: str | None
    driver: str | None
    netdevs: tuple[str, ...]
    resource: str | None
    ailment: str | None
    why_not: dict[str, str]


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
    return PlacedDevice(one.id, one.role.value, pf, one.driver, one.netdevs, home, ailment, why_not)


def as_json(configuration: resources.Configuration, listed: Sequence[PlacedDevice]) -> str:
    """Encode the rows. `errors` is empty: a configuration with errors is not used."""
    shown = [msgspec.to_builtins(row) for row in listed]
    totals = {each.full_name: sum(row.resource == each.full_name for row in listed) for each in configuration.resources}
    found = {"errors": [], "warnings": configuration.warnings, "resources": totals, "devices": shown}
    return json.dumps(found, indent=1)


def errors_as_json(text: str) -> str:
    """Encode the problems of a configuration that cannot be used."""
    return json.dumps({"errors": text.splitlines(), "warnings": [], "resources": {}, "devices": []}, indent=1)


def as_table(configuration: resources.Configuration, listed: Sequence[PlacedDevice]) -> str:
    """Return a line for each device, and one for each resource with its count."""
    cells = [_COLUMNS, *(_cells(row) for row in listed)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
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
