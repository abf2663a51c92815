"""doctor's checks between the node and its pods: configuration, kubelet, CNI, network managers. Pure."""

from collections.abc import Iterator

from sriovctl.checks.explaining import membership, policies
from sriovctl.checks.findings import Finding, Kind
from sriovctl.node import attachments, cni_setup, facts


def configuration(found: facts.Facts) -> Iterator[Finding]:
    config = str(found.where.config)
    for line in found.seen.config_trouble.splitlines() if "configuration" not in found.seen.hidden else ():
        yield Finding(Kind.CONFIG_BAD, config, line)
    read = found.seen.configuration
    for warning in read.warnings if read else ():
        yield Finding(Kind.CONFIG_WARNING, config, warning)
    for pool in found.seen.dealt:
        if not pool.devices:
            yield Finding(Kind.POOL_EMPTY, pool.resource, "no device of this node matches its selectors")
    if found.policy_problem:
        told = next((each for each in found.trouble if each.startswith(found.policy_problem)), found.policy_problem)
        yield Finding(Kind.POLICY_BAD, str(found.where.policy), told)


def kubelet(found: facts.Facts) -> Iterator[Finding]:
    told, folder = found.seen.told, found.where.kubelet
    if "kubelet" in found.seen.hidden:
        return
    if not found.kubelet_there:
        yield Finding(Kind.KUBELET_MISSING, str(folder), f"there is no socket {folder}/device-plugins/kubelet.sock")
        return
    if told.trouble and "pods" not in found.seen.hidden:
        yield Finding(Kind.NO_POD_RESOURCES, str(found.where.pod_resources), told.trouble)
    for pool in found.seen.dealt:
        if pool.resource in found.seen.by_claims:
            continue
        if pool.resource not in found.sockets:
            yield Finding(Kind.NOT_REGISTERED, pool.resource, f"it has no socket in {folder}/device-plugins")
        elif not told.trouble and pool.resource not in told.allocatable:
            yield Finding(Kind.NOT_REGISTERED, pool.resource, "its socket is there, and the kubelet does not know it")


_PLUGINS = {
    cni_setup.InstalledPlugin.MISSING: (Kind.PLUGIN_MISSING, "it is not there"),
    cni_setup.InstalledPlugin.FOREIGN: (Kind.PLUGIN_FOREIGN, "it does not ask our daemon: it is another CNI plugin"),
    cni_setup.InstalledPlugin.NOT_EXECUTABLE: (Kind.PLUGIN_NOT_EXECUTABLE, "it is our shim, but it is not executable"),
}
_SHIMS = {cni_setup.InstalledPlugin.OURS, cni_setup.InstalledPlugin.NOT_EXECUTABLE}


def _plugins(found: facts.Facts) -> Iterator[Finding]:
    """Yield what is wrong with each shim. InfiniBand's may be the only one, and may be ib-sriov-cni's program."""
    ours = {each for each, state in found.plugins.items() if state in _SHIMS}
    for name, state in found.plugins.items():
        missed = name == "sriov" and (state is cni_setup.InstalledPlugin.FOREIGN or not ours)
        if state in _PLUGINS and (missed or name in ours):
            kind, text = _PLUGINS[state]
            yield Finding(kind, str(found.where.cni_bin / name), text)


def cni(found: facts.Facts) -> Iterator[Finding]:
    hidden = found.seen.hidden
    if "plugin" not in hidden:
        yield from _plugins(found)
    if found.daemon_trouble and "daemon" not in hidden:
        yield Finding(Kind.DAEMON_DOWN, str(found.where.daemon_socket), found.daemon_trouble)
    for line in found.trouble:
        if found.policy_problem and line.startswith(found.policy_problem):
            continue  # it is the evidence of policy-bad
        if line.startswith(policies.SAID) and any(each.agrees is False for each in found.policies.standings):
            continue  # and this of policy-not-in-force
        kind = Kind.SERVICES_DOWN if line.startswith(membership.TROUBLE) else Kind.DAEMON_TROUBLE
        yield Finding(kind, str(found.where.daemon_socket), line)
    for network in found.networks:
        if network.problem:
            yield Finding(Kind.NETWORK_BAD, str(found.where.cni_conf / network.file), network.problem)
    if not found.networks and not found.multus and "networks" not in hidden:
        yield Finding(
            Kind.NO_NETWORK, str(found.where.cni_conf), "no file there names a plugin of type sriov, ib-sriov or multus"
        )


def ledger(found: facts.Facts) -> Iterator[Finding]:
    if found.seen.ledger_trouble and "daemon" not in found.seen.hidden:
        yield Finding(Kind.LEDGER_UNREADABLE, str(found.where.run_dir / "vfs"), found.seen.ledger_trouble)
    for one in found.held:
        owner = one.record.owner
        if one.record.problem:
            yield Finding(Kind.NOT_TAKEN_BACK, one.record.pci, f"from {owner}: {one.record.problem}")
        elif one.state is attachments.State.LEFT_BEHIND:
            yield Finding(Kind.LEFT_BEHIND, one.record.pci, f"{owner} is gone, the VF is in the host and not clean yet")
        if one.state is attachments.State.UNKNOWN_OWNER:
            yield Finding(
                Kind.RECORD_DAMAGED,
                str(found.where.run_dir / "vfs" / f"{one.record.pci}.json"),
                "not a readable record",
            )


def managers(found: facts.Facts) -> Iterator[Finding]:
    if found.managers.held:
        notes = found.where.run / "NetworkManager/devices"
        evidence = f"by its notes in {notes} it has {', '.join(found.managers.held)}"
        yield Finding(Kind.NETWORK_MANAGER, "NetworkManager", evidence)
    elif found.managers.network_manager and found.vfs:
        yield Finding(
            Kind.NETWORK_MANAGER, "NetworkManager", "it runs, and neither udev nor its own files keep it off VFs"
        )
    for file, netdev in found.managers.claims:
        yield Finding(Kind.NETWORKD, netdev, f"{file} matches this VF: networkd sets it up when it is in the host")
