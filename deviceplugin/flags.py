"""Command line: upstream's flags, with one dash or two, and our own."""

import argparse
import pathlib
from collections.abc import Callable

from sriov import versions
from sriov.daemon import http_address, logs
from sriov.pools import cdi, config

_GLOG = ("v", "vmodule", "stderrthreshold", "log_dir", "log-dir", "log_backtrace_at")
_GLOG_SWITCHES = ("logtostderr", "alsologtostderr")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "sriov-device-plugin", description="Advertises SR-IOV VFs to the kubelet.", allow_abbrev=False
    )
    _add_files(made)
    _add_kubelet(made)
    _add_modes(made)
    _add_ignored(made)
    versions.add_flag(made, "--version", "-version")
    return made


def configuration(path: pathlib.Path) -> bytes:
    """What the file of --config-file holds. Raises ConfigError."""
    try:
        return config.data(path)
    except config.UnreadableError as error:
        error.remedy = "name the file with --config-file"
        raise


def delivery(flags: argparse.Namespace) -> cdi.Delivery:
    """Return the way in which containers get device nodes."""
    if not flags.use_cdi:
        return cdi.Delivery.NODES
    return cdi.Delivery.ANNOTATIONS if flags.cdi_annotations else cdi.Delivery.FIELD


def _flag(made: argparse.ArgumentParser, name: str, kind: Callable[[str], object], default: object, text: str) -> None:
    names = [f"--{name}", f"-{name}"] + (["--config"] if name == "config-file" else [])
    shown = "off" if default is None else "%(default)s"
    made.add_argument(*names, type=kind, default=default, metavar="", help=f"{text} ({shown})")


def _add_files(made: argparse.ArgumentParser) -> None:
    _flag(made, "config-file", pathlib.Path, pathlib.Path("/etc/pcidp/config.json"), "the resources and their devices")
    _flag(made, "resource-prefix", str, "intel.com", "prefix of resources that state none")
    _flag(made, "sysfs", pathlib.Path, pathlib.Path("/sys"), "where the hardware is read")
    _flag(made, "procfs", pathlib.Path, pathlib.Path("/proc"), "procfs, to read the host's routes and addresses")
    _flag(made, "dev", pathlib.Path, pathlib.Path("/dev"), "folder of shared device nodes, beside sysfs")
    _flag(made, "run-dir", pathlib.Path, pathlib.Path("/run/sriov"), "the CNI's run directory, which is only read")
    devinfo = pathlib.Path("/var/run/k8s.cni.cncf.io/devinfo/dp")
    _flag(made, "devinfo-dir", pathlib.Path, devinfo, "folder of the device-info files for Multus")
    _flag(made, "cdi-dir", pathlib.Path, pathlib.Path("/var/run/cdi"), "folder of the CDI specs")


def _add_kubelet(made: argparse.ArgumentParser) -> None:
    _flag(made, "kubelet-root-dir", pathlib.Path, pathlib.Path("/var/lib/kubelet"), "holds device-plugins")
    _flag(made, "registration", _registration, "direct", "direct: by kubelet.sock; watcher: by plugins_registry")
    _flag(made, "resync-interval", float, 30.0, "seconds between two looks at the hardware without an event")
    _flag(made, "http", http_address.address, None, "address to answer /healthz, /readyz, /metrics and /status")
    _flag(made, "log-format", _format, "human", "human or json")
    levels = f"one of {', '.join(logs.LEVELS)}, or a number, which is info; SIGUSR1: debug, SIGUSR2: back"
    _flag(made, "log-level", _level, "info", levels)
    _flag(made, "log-level-file", pathlib.Path, None, "file with the level, followed while the program runs")


def _add_modes(made: argparse.ArgumentParser) -> None:
    _switch(made, "use-cdi", "hand out device nodes by CDI")
    _switch(made, "cdi-annotations", "with --use-cdi: by annotations, for kubelets before 1.28")
    _switch(made, "wait-for-config", "start without a configuration that can be used, and wait for one")
    _switch(made, "dry-run", "print the resource of each device and the reasons, then exit; needs no kubelet")
    output = "of --dry-run: table or json (%(default)s)"
    made.add_argument("--output", "-output", choices=("table", "json"), default="table", help=output)


def _switch(made: argparse.ArgumentParser, name: str, text: str) -> None:
    """Add a switch as Go has it: alone, or with =true or =false."""
    made.add_argument(
        f"--{name}", f"-{name}", type=_boolean, nargs="?", const=True, default=False, metavar="", help=text
    )


def _add_ignored(made: argparse.ArgumentParser) -> None:
    """Add glog's flags, which upstream's manifests pass: the log is on stderr, and its level is --log-level."""
    for name in _GLOG:
        made.add_argument(f"--{name}", f"-{name}", help=argparse.SUPPRESS)
    for name in _GLOG_SWITCHES:
        made.add_argument(f"--{name}", f"-{name}", nargs="?", help=argparse.SUPPRESS)


def _boolean(text: str) -> bool:
    """Parse the values that Go's strconv.ParseBool takes."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise argparse.ArgumentTypeError(f"invalid boolean value {text!r}, use true or false")


def _registration(text: str) -> str:
    if text not in ("direct", "watcher"):
        raise argparse.ArgumentTypeError(f"invalid registration {text!r}, use direct or watcher")
    return text


def _level(text: str) -> str:
    """Parse a level. Upstream's are glog's numbers, and its manifests pass the highest, 10: all are info here."""
    name = "info" if text.isdecimal() else text.lower()
    if name not in logs.LEVELS:
        raise argparse.ArgumentTypeError(f"invalid log level {text!r}, use one of {', '.join(logs.LEVELS)}")
    return name


def _format(text: str) -> logs.Format:
    if text not in list(logs.Format):
        raise argparse.ArgumentTypeError(f"invalid log format {text!r}, use human or json")
    return logs.Format(text)
