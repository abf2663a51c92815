"""Process of the DRA driver: flags to objects, log, signals, exit status.

Exit status 0 after SIGTERM, 1 if the configuration, a folder or the API server's address cannot be used, 2 for wrong
flags. An API server or a kubelet that is away ends nothing.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from sriov import errors
from sriov.apiserver import connection
from sriov.apiserver import flags as server_flags
from sriov.daemon import background, http_address, log_level, logs, signals
from sriov.hardware import sysfs
from sriov.kubelet import checkpoint
from sriov.pools import observer
from sriov_dra import driver, flags, inventory
from sriov_dra.hook import installed

_log = logging.getLogger("sriov_dra")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_NAME_MAX = 63
_UID = re.compile(r"[A-Za-z0-9-]*")


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM. Without arguments: the process's own command line."""
    given = flags.parser().parse_args(argv)
    signals.leave_a_trace()
    logs.start(given.log_level, given.log_format)
    server_flags.quieten()
    try:
        asyncio.run(_run(given))
    except* errors.SriovError as group:
        print(f"sriov-dra-driver: {_first(group)}", file=sys.stderr)
        return_code = 1
    else:
        return_code = 0
    return return_code


async def _run(given: argparse.Namespace) -> None:
    _check(given)
    stop = background.stopped_by(signal.SIGTERM, signal.SIGINT)
    server = connection.ApiServer(connection.configuration(given.kubeconfig, given.service_account_dir))
    running = driver.Driver(_options(given), server)
    gc.freeze()
    async with (
        log_level.followed(given.log_level, given.log_level_file, running.tasks),
        _answering(running, given.http),
        contextlib.aclosing(server),
    ):
        await background.run_until(stop, running.run())
    _log.info("stopped; what is prepared stays prepared, and the slices stay until the kubelet removes them")


def _check(given: argparse.Namespace) -> None:
    """Check names that become parts of paths and objects. Raises SriovError."""
    if not given.node:
        raise errors.SriovError("the node's name is not known", "give --node, or set NODE_NAME (spec.nodeName)")
    if len(given.driver_name) > _NAME_MAX or not _NAME.fullmatch(given.driver_name):
        raise errors.SriovError(
            f"--driver-name {given.driver_name!r} is not a driver's name",
            f"use a DNS name of at most {_NAME_MAX} characters",
        )
    if not _UID.fullmatch(given.pod_uid):
        raise errors.SriovError(f"--pod-uid {given.pod_uid!r} is not a UID", "set POD_UID (metadata.uid)")


def _options(given: argparse.Namespace) -> driver.DriverOptions:
    kubelet = given.kubelet_root_dir
    kept = kubelet / "device-plugins" / checkpoint.NAME
    observed = observer.ObservedNode(sysfs.Tree(given.sysfs), given.procfs, given.dev, given.run_dir, checkpoint=kept)
    return driver.DriverOptions(
        driver=given.driver_name,
        inventory=inventory.PublishedNodeOptions(
            given.config_file, given.resource_prefix, given.node, observed, resync=given.resync_interval
        ),
        run_dir=given.run_dir,
        kubelet=kubelet,
        specs=given.cdi_dir,
        networks=given.cni_conf_dir,
        hook=given.claim_hook or installed.packaged(),
        pod_uid=given.pod_uid,
    )


def _answering(running: driver.Driver, where: http_address.Address | None) -> AbstractAsyncContextManager[None]:
    if where is None:
        return contextlib.nullcontext()
    # prometheus_client takes a tenth of a second and 10 MB: a driver without the endpoint does not pay for it.
    from sriov_dra import monitoring  # noqa: PLC0415

    return monitoring.serving(running, where)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
