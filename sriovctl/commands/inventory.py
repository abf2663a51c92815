"""`sriovctl inventory`: every PF and VF with its owner; with --watch, again after each change."""

import asyncio
import contextlib
import json
import sys

import click
import msgspec

from sriovctl import completions, names, options, output, paths
from sriovctl.node import snapshot, watch
from sriovctl.views import devices, documents


class _Chosen(msgspec.Struct, frozen=True):
    """Rows to show: of one PF, by its ID, and of one pool; None for all."""

    pf: str | None
    pool: str | None


def register(program: click.Group) -> None:
    program.add_command(_command)


@click.command("inventory")
@options.output_option
@click.option("--pf", shell_complete=completions.pfs, help="Only this PF and its VFs, by netdev or PCI address.")
@click.option(
    "--pool", shell_complete=completions.pools, help="Only devices of this pool, as in intel.com/rail_a or rail_a."
)
@click.option("--watch", "-w", is_flag=True, help="Go on, and show it again whenever something changes.")
@options.pass_places
def _command(where: paths.Places, form: output.OutputFormat, pf: str | None, pool: str | None, watch: bool) -> None:
    """PFs and VFs: driver, NUMA node, link, pool, health with its reason, owner, MAC and VLAN.

    Pool and health are what the device plugin would report to the kubelet, by its own code. MAC and VLAN of a VF in a
    pod are what the CNI has set. With --watch and -o json each change is one line.
    """
    seen = snapshot.take(where)
    # Told apart now: that it goes away later is what --watch is to show.
    chosen = _Chosen(names.pf(seen, pf) if pf else None, names.pool(seen, pool) if pool else None)
    if watch:
        asyncio.run(_follow(where, form, chosen))
    listed = _rows(seen, chosen)
    output.show(form, devices.table(listed), documents.plain(_document(listed, seen)))
    if form.for_people and not listed:
        output.say(f"{chosen.pool or 'this node'} has no device")
    output.unseen(form, seen.unseen)


def _rows(seen: snapshot.Survey, chosen: _Chosen) -> list[devices.Row]:
    listed = devices.rows(seen)
    if chosen.pf is not None:
        of_pf = {one.id for one in seen.catalog.candidates.values() if chosen.pf in (one.id, one.pf)}
        listed = [row for row in listed if row.pci in of_pf]
    return [row for row in listed if chosen.pool in (None, row.pool)]


def _document(listed: list[devices.Row], seen: snapshot.Survey) -> documents.InventoryDocument:
    return documents.InventoryDocument([devices.item(row) for row in listed], unseen=list(seen.unseen))


async def _follow(where: paths.Places, form: output.OutputFormat, chosen: _Chosen) -> None:
    last = None
    folders = (where.run_dir / "vfs", where.config.parent, where.run_dir)
    async with contextlib.aclosing(watch.changes(folders)) as woken:
        async for _ in woken:
            seen = await asyncio.to_thread(snapshot.take, where)
            listed = _rows(seen, chosen)
            content = _document(listed, seen)
            if content != last:
                _redraw(form, listed, content)
            last = content


def _redraw(form: output.OutputFormat, listed: list[devices.Row], content: documents.InventoryDocument) -> None:
    """Show the newest state alone on a terminal; in a pipe, one after the other."""
    if form is output.OutputFormat.JSON:
        print(json.dumps(documents.plain(content)), flush=True)
        return
    if sys.stdout.isatty():
        click.clear()
    else:
        print("---")
    output.show(form, devices.table(listed), documents.plain(content))
    sys.stdout.flush()
