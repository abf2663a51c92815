"""The device plugin's command line and its process: flags, log, signals, exit status.

Exit status 0 after a signal that asks it to stop, 1 when the configuration or a directory cannot be used, 2 for wrong
flags.
"""

import argparse
import asyncio
import contextlib
import logging
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence

from deviceplugin import conf, plugin
from sriov import errors, sysfs

log = logging.getLogger("deviceplugin")

_LEVELS = ("debug", "info", "warning", "error")
_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def main(arguments: Sequence[str]) -> int:
    flags = _parser().parse_args(arguments)
    _log_to_stderr(flags.log_level)
    options = plugin.Options(flags.kubelet_root_dir, sysfs.Tree(flags.sysfs), resync=flags.resync_interval)
    try:
        configuration = conf.load(flags.config_file, flags.resource_prefix)
        for warning in configuration.warnings:
            log.warning("%s", warning)
        asyncio.run(_run(configuration, options))
    except errors.SriovError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _run(configuration: conf.Configuration, options: plugin.Options) -> None:
    """Run until a signal comes; a second one changes nothing, since stopping takes no time."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP:
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(plugin.Plugin(configuration, options).run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    log.info("stopped")


def _parser() -> argparse.ArgumentParser:
    """Flags have two dashes or one, as the incumbent's."""
    parser = argparse.ArgumentParser("deviceplugin", description="Advertises SR-IOV VFs to the kubelet.")

    def flag(name: str, kind: Callable[[str], object], default: object, text: str) -> None:
        parser.add_argument(
            f"--{name}", f"-{name}", type=kind, default=default, metavar="", help=f"{text} (%(default)s)"
        )

    flag("config-file", pathlib.Path, pathlib.Path("/etc/pcidp/config.json"), "which resources there are")
    flag("resource-prefix", str, "intel.com", "prefix of resources that state none")
    flag("kubelet-root-dir", pathlib.Path, pathlib.Path("/var/lib/kubelet"), "holds device-plugins/kubelet.sock")
    flag("sysfs", pathlib.Path, pathlib.Path("/sys"), "where the hardware is read")
    flag("run-dir", pathlib.Path, pathlib.Path("/run/sriov"), "the CNI's ledger, not read yet")
    flag("resync-interval", float, 30.0, "seconds between two looks at the hardware that no event asked for")
    flag("log-level", _level, "info", f"one of {', '.join(_LEVELS)}, or a number, which is info")
    parser.add_argument("--log-dir", help=argparse.SUPPRESS)  # the incumbent's manifests pass it; the log is on stderr
    return parser


def _level(text: str) -> str:
    """The incumbent's levels are glog's numbers, and its manifests pass the highest, 10: all of them are info here."""
    name = "info" if text.isdecimal() else text.lower()
    if name not in _LEVELS:
        raise argparse.ArgumentTypeError(f"invalid log level {text!r}, use one of {', '.join(_LEVELS)}")
    return name


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells every change of every file
    logging.getLogger("asyncio").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
