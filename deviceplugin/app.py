"""Process of the device plugin: flags to objects, log, signals, exit status.

Exit status 0 after a signal that asks it to stop, 1 if the configuration (without --wait-for-config) or a directory
cannot be used, 2 for wrong flags. A dry run ends with 1 if the configuration has an error.
"""

import argparse
import asyncio
import contextlib
import logging
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from deviceplugin import device_files, flags, plugin, registration
from sriov import errors
from sriov.daemon import background, http_address, log_level, logs, signals
from sriov.hardware import discovery, sysfs
from sriov.kubelet import checkpoint
from sriov.pools import config, health, observer

log = logging.getLogger("deviceplugin")

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the plugin. Without `arguments` it uses the process's own, as the console program `sriov-device-plugin`."""
    given = flags.parser().parse_args(arguments)
    if given.dry_run:
        return _dry_run(given)
    signals.leave_a_trace()
    logs.start(given.log_level, given.log_format)
    try:
        asyncio.run(_run(plugin.Plugin(_options(given)), given))
    except* errors.SriovError as group:
        print(*_leaves(group), sep="\n", file=sys.stderr)
        return_code = 1
    else:
        return_code = 0
    return return_code


def _options(given: argparse.Namespace) -> plugin.Options:
    root = given.kubelet_root_dir
    watched = given.registration == "watcher"
    registrar = (
        registration.Watched(root / "plugins_registry") if watched else registration.Direct(root / "device-plugins")
    )
    return plugin.Options(
        config=given.config_file,
        prefix=given.resource_prefix,
        registrar=registrar,
        waits=given.wait_for_config,
        node=_node(given),
        places=device_files.FilePlaces(given.devinfo_dir, given.cdi_dir, flags.delivery(given)),
        resync=given.resync_interval,
    )


def _node(given: argparse.Namespace) -> observer.ObservedNode:
    kept = given.kubelet_root_dir / "device-plugins" / checkpoint.NAME
    return observer.ObservedNode(sysfs.Tree(given.sysfs), given.procfs, given.dev, given.run_dir, checkpoint=kept)


async def _run(running: plugin.Plugin, given: argparse.Namespace) -> None:
    """Run until a signal comes; a second one changes nothing, since stopping takes no time."""
    stop = background.stopped_by(*_STOP)
    async with (
        log_level.followed(given.log_level, given.log_level_file, running.tasks),
        _answering(running, given.http),
    ):
        await background.run_until(stop, running.run())
    log.info("stopped")


def _answering(running: plugin.Plugin, where: http_address.Address | None) -> AbstractAsyncContextManager[None]:
    if where is None:
        return contextlib.nullcontext()
    # prometheus_client takes a tenth of a second and 10 MB: a plugin without the endpoint does not pay for it.
    from deviceplugin import monitoring  # noqa: PLC0415

    return monitoring.serving(running, where)


def _dry_run(given: argparse.Namespace) -> int:
    """Print the dry run, or all errors of the configuration at once."""
    from deviceplugin import dry_run  # noqa: PLC0415  # nothing that the daemon needs

    as_json = given.output == "json"
    node = _node(given)
    try:
        text = flags.configuration(given.config_file)
        configuration = config.parse(text, str(given.config_file), given.resource_prefix)
        catalog = discovery.scan(node.tree, node.proc, node.dev)
    except errors.SriovError as error:
        print(dry_run.as_json(dry_run.DryRunDocument(errors=str(error).splitlines())) if as_json else error)
        return 1
    if configuration.asks_for_profiles:
        catalog, trouble = observer.with_profiles(catalog, node.devlink)
        configuration = msgspec.structs.replace(
            configuration, warnings=(*configuration.warnings, *filter(None, [trouble]))
        )
    managed = frozenset(one.pci for one in catalog.candidates.values() if one.numvfs)
    listed = dry_run.rows(catalog, configuration, health.Conditions(health.down(catalog), {}, managed))
    if as_json:
        print(dry_run.as_json(dry_run.document(configuration, listed)))
    else:
        room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(dry_run.as_table(configuration, listed, room))
    for warning in () if as_json else configuration.warnings:
        print(f"warning: {warning}")
    return 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
