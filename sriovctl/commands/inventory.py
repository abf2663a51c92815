"""`sriovctl inventory`: every PF and VF with its owner; with --watch, again after each change."""

import contextlib
import json
import sys

import click
import msgspec

from sriovctl import completions, names, options, output, paths
from sriovctl.node import snapshot
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
        _follow(where, form, chosen)
    document = _document(seen, chosen)
    _show(form, document)
    if form.for_people and not document.items:
        output.say(f"{chosen.pool or 'this node'} has no device")
    output.unseen(form, seen.unseen)


def _document(seen: snapshot.Survey, chosen: _Chosen) -> documents.InventoryDocument:
    listed = devices.rows(seen)
    if chosen.pf is not None:
        of_pf = {one.id for one in seen.catalog.candidates.values() if chosen.pf in (one.id, one.pf)}
        listed = [row for row in listed if row.device in of_pf]
    listed = [row for row in listed if chosen.pool in (None, row.pool)]
    return documents.InventoryDocument(listed, unseen=list(seen.unseen))


def _show(form: output.OutputFormat, document: documents.InventoryDocument) -> None:
    output.show(form, devices.table(document.items), documents.plain(document))


def _follow(where: paths.Places, form: output.OutputFormat, chosen: _Chosen) -> None:
    """Show it after each change, without end."""
    import asyncio  # noqa: PLC0415 (no other command waits for anything, and it is a fifth of their start)

    from sriovctl.node import watch  # noqa: PLC0415 (for the same reason)

    async def shown() -> None:
        last = None
        folders = (where.run_dir / "vfs", where.config.parent, where.run_dir)
        async with contextlib.aclosing(watch.changes(folders)) as woken:
            async for _ in woken:
                document = _document(await asyncio.to_thread(snapshot.take, where), chosen)
                if document != last:
                    _redraw(form, document)
                last = document

    asyncio.run(shown())


def _redraw(form: output.OutputFormat, document: documents.InventoryDocument) -> None:
    """Show the newest state alone on a terminal; in a pipe, one after the other."""
    if form is output.OutputFormat.JSON:
        print(json.dumps(documents.plain(document)), flush=True)
        return
    if sys.stdout.isatty():
        click.clear()
    else:
        print("---")
    _show(form, document)
