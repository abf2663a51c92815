"""The way to Services that an ADD is to give its pod, and what translates them on this node."""

from typing import NamedTuple

from sriov import devices
from sriov_cni.context.calls import Daemon, Translation, log
from sriov_cni.spec import cni_errors, netconf, vf_request
from sriov_cni.spec.cni_errors import Code
from sriov_cni.spec.service_modes import ServicesMode


class Way(NamedTuple):
    """The mode in effect, and why, if nobody asked for it by name."""

    mode: ServicesMode
    reason: str = ""


def way(daemon: Daemon, network: netconf.Network, vf: devices.VF, wanted: vf_request.VfRequest) -> Way:
    """Return the way in effect. Raises CniError."""
    if wanted.services is ServicesMode.AUTO:
        return _chosen(daemon, network, vf, wanted)
    if wanted.services is ServicesMode.SOCKET:
        translation(daemon)
    return Way(wanted.services or ServicesMode.OFF)


def _chosen(daemon: Daemon, network: netconf.Network, vf: devices.VF, wanted: vf_request.VfRequest) -> Way:
    """Return what `auto` is for this pod, and why. Fails no pod."""
    from sriov_cni.dataplane.modes import choice  # noqa: PLC0415  # other networks do not pay for it

    translation = daemon.translation
    problems = () if translation is None else tuple(translation.problems())
    works = translation is not None and not problems
    facts = choice.WaysThereAre(
        translates=translation is not None,
        problems=problems,
        others=() if works or daemon.other_balancers is None else daemon.other_balancers(),
        host_link=wanted.host_link is not None and daemon.service_ranges is not None and bool(daemon.service_ranges()),
        netdev=not vf.userspace,
    )
    found = choice.choose(facts)
    log.info('network %s: services "auto" is "%s": %s', network.name, found.mode, found.reason)
    if daemon.meter is not None:
        daemon.meter.chose(found.mode)
    return Way(ServicesMode(found.mode), found.reason)


def translation(daemon: Daemon) -> Translation:
    """Raises CniError if nothing on this node translates Services."""
    if daemon.translation is None:
        raise cni_errors.CniError(
            Code.INVALID_CONFIG,
            'services "socket": the daemon of this node does not translate Services',
            "start it with --services DIR, or leave the key out",
        )
    return daemon.translation
