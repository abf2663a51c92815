"""The way to Services that an ADD is to give its pod, and what translates them on this node."""

from sriov_cni.context.calls import Daemon, Translation, log
from sriov_cni.spec import cni_errors, netconf
from sriov_cni.spec.cni_errors import Code
from sriov_cni.spec.service_modes import ServicesMode


def mode(daemon: Daemon, network: netconf.Network, named: ServicesMode | None) -> ServicesMode:
    """Return the mode in effect: the network's own, else the node's default, which fails no pod. Raises CniError."""
    if named is ServicesMode.SOCKET:
        translation(daemon)
    if named is not None or daemon.guard is None:
        return named or ServicesMode.OFF
    default = daemon.guard.defaults.services
    if default is ServicesMode.SOCKET and daemon.translation is None:
        log.warning("network %s: the node's default %s needs a daemon with --services", network.name, default)
        return ServicesMode.OFF
    return default


def translation(daemon: Daemon) -> Translation:
    """Raises CniError if nothing on this node translates Services."""
    if daemon.translation is None:
        raise cni_errors.CniError(
            Code.INVALID_CONFIG,
            'services "socket": the daemon of this node does not translate Services',
            "start it with --services DIR, or leave the key out",
        )
    return daemon.translation
