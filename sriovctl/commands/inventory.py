"""`sriovctl inventory`: every PF and VF with its owner; with --watch, again after each change."""

import asyncio
import contextlib
import json
import sys

import click

from sriovctl import options, output, paths
from sriovctl.node import snapshot, watch
from sriovctl.views import devices


def register(program: click.Group) -> None:
    program.add_command(_command)


@click.command("inventory")
@options.output_option
@click.option("--pf", help="Only this PF and its VFs, by netdev or PCI address.")
@click.option("--pool", help="Only devices of this pool, as in intel.com/rail_a or rail_a.")
@click.option("--watch", "-w", is_flag=True, help="Go on, and show it again whenever something changes.")
@options.pass_places
def _command(where: paths.Places, form: output.OutputFormat, pf: str | None, pool: str | None, watch: bool) -> None:
    """PFs and VFs: driver, NUMA node, link, pool, health with its reason, owner, MAC and VLAN.

    Pool and health are what the device plugin would report to the kubelet, by its own code. MAC and VLAN of a VF in a
    pod are what the CNI has set. With --watch and -o json each change is one line.
    """
    if watch:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_follow(where, form, pf, pool))
        return
    listed, seen = _look(where, pf, pool)
    output.show(form, devices.table(listed), _document(listed, seen))
    output.unseen(form, seen.unseen)


def _look(where: paths.Places, pf: str | None, pool: str | None) -> tuple[list[devices.Row], snapshot.Survey]:
    seen = snapshot.take(where)
    listed = devices.rows(seen)
    if pf is not None:
        names = {pf, *(row.netdev for row in listed if row.pci == pf)}
        listed = [row for row in listed if row.pf in names or row.pci in names or row.netdev in names]
    if pool is not None:
        listed = [row for row in listed if row.pool is not None and pool in (row.pool, row.pool.partition("/")[2])]
    return listed, seen


def _document(listed: list[devices.Row], seen: snapshot.Survey) -> dict[str, object]:
    return output.document("Inventory", [devices.item(row) for row in listed], unseen=list(seen.unseen))


async def _follow(where: paths.Places, form: output.OutputFormat, pf: str | None, pool: str | None) -> None:
    last = None
    folders = (where.run_dir / "vfs", where.config.parent, where.run_dir)
    async with contextlib.aclosing(watch.changes(folders)) as woken:
        async for _ in woken:
            listed, seen = await asyncio.to_thread(_look, where, pf, pool)
            content = _document(listed, seen)
            if content != last:
                _redraw(form, listed, content)
            last = content


def _redraw(form: output.OutputFormat, listed: list[devices.Row], content: dict[str, object]) -> None:
    """Show the newest state alone on a terminal; in a pipe, one after the other."""
    if form is output.OutputFormat.JSON:
        print(json.dumps(content), flush=True)
        return
    if sys.stdout.isatty():
        click.clear()
    else:
        print("---")
    output.show(form, devices.table(listed), content)
    sys.stdout.flush()
