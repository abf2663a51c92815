"""Facts for `doctor`, collected once. Reads only, and asks the daemon's socket whether it answers."""

import pathlib
from collections.abc import Mapping

import msgspec

from sriov import errors
from sriov.hardware import inventory, node_devices, ports, sysfs
from sriov.kubelet import names
from sriov.pools import assignment
from sriov.state import daemon_problems
from sriovctl import paths, sight
from sriovctl.node import attachments, cni_client, cni_setup, kernel_facts, network_managers, pcie, snapshot
from sriovctl.node.policies import standing


class Facts(msgspec.Struct, frozen=True):
    """Facts. `groups` are IOMMU groups with their members. `autoprobe` is by PF: its attribute sriov_drivers_autoprobe.
    `versions` is by driver, for drivers that are not the kernel's own. `daemon_trouble` is why the CNI daemon does not
    answer, `trouble` are the problems of its background work that it reports. `passed_through` are VFs whose PF is on
    another machine: this one is virtual."""

    where: paths.Places
    seen: snapshot.Survey
    kernel: kernel_facts.RunningKernel
    functions: Mapping[str, pcie.Function]
    groups: Mapping[str, tuple[str, ...]]
    autoprobe: Mapping[str, bool]
    representors: Mapping[str, int]
    versions: Mapping[str, str]
    plugins: Mapping[str, cni_setup.InstalledPlugin]
    networks: tuple[cni_setup.NetworkFile, ...]
    multus: bool
    managers: network_managers.Managers
    policy_problem: str | None
    daemon_trouble: str | None
    trouble: tuple[str, ...]
    kubelet_there: bool
    sockets: frozenset[str]
    held: tuple[attachments.ListedAttachment, ...]
    policies: standing.PolicyStandings
    passed_through: tuple[str, ...]

    @property
    def pfs(self) -> list[node_devices.Candidate]:
        return [one for one in self.seen.catalog.candidates.values() if one.role is node_devices.Role.PF]

    @property
    def vfs(self) -> list[node_devices.Candidate]:
        return [one for one in self.seen.catalog.candidates.values() if one.role is node_devices.Role.VF]


def collect(where: paths.Places) -> Facts:
    seen = snapshot.take(where)
    tree = seen.tree
    pfs = [one.pci for one in seen.catalog.candidates.values() if one.role is node_devices.Role.PF]
    drivers = {one.driver for one in seen.catalog.candidates.values() if one.driver}
    versions = {each: sysfs.text(where.sysfs / "module" / each / "version") for each in sorted(drivers)}
    vfs = [one.pci for one in seen.catalog.candidates.values() if one.role is node_devices.Role.VF]
    vf_netdevs = [netdev for netdev in map(tree.netdev, vfs) if netdev is not None]
    held = tuple(attachments.listed(seen))
    unreachable = cni_client.trouble(where.daemon_socket)
    networks, multus = cni_setup.networks(where.cni_conf)
    return Facts(
        where,
        seen,
        kernel_facts.read(where.sysfs, where.proc, where.boot),
        pcie.read(tree),
        _groups(tree),
        {pf: sysfs.integer(tree.pci(pf) / "sriov_drivers_autoprobe") != 0 for pf in pfs},
        {pf: _representors(tree, pf) for pf in pfs},
        {name: version for name, version in versions.items() if version},
        cni_setup.installed(where.cni_bin),
        networks,
        multus,
        network_managers.read(where.run, where.etc, vf_netdevs),
        cni_setup.policy_problem(where.policy),
        unreachable,
        daemon_problems.Trouble(where.run_dir).read() if unreachable is None else (),
        _has_kubelet(where, seen.sight),
        _sockets(where, seen),
        held,
        standing.look(where, seen, held, None),
        tuple(one.id for one in seen.catalog.candidates.values() if _is_passed_through(tree, one)),
    )


def _has_kubelet(where: paths.Places, seeing: sight.Visibility) -> bool:
    """By the socket of registrations; a container whose device plugin is found by the kubelet does not see that."""
    control = where.kubelet / "device-plugins/kubelet.sock"
    return (control if seeing.sees(control) else where.pod_resources).is_socket()


def _is_passed_through(tree: sysfs.Tree, one: node_devices.Candidate) -> bool:
    return one.role is node_devices.Role.NIC and inventory.is_vf_without_pf(tree, one.pci)


def _groups(tree: sysfs.Tree) -> dict[str, tuple[str, ...]]:
    root = tree.root / "kernel/iommu_groups"
    return {number: sysfs.names(root / number / "devices") for number in sysfs.names(root)}


def _representors(tree: sysfs.Tree, pf: str) -> int:
    folder = f"{tree.pci_devices}/{pf}/net"
    return sum(map(ports.is_of_switch, tree.port_names(folder, sysfs.names(folder)).values()))


def _sockets(where: paths.Places, seen: snapshot.Survey) -> frozenset[str]:
    """Return resources whose socket is where the kubelet looks, in either way of registration, or the DRA driver's."""
    folders = (where.kubelet / "device-plugins", where.kubelet / "plugins_registry")
    found = frozenset(pool.resource for pool in seen.dealt if any(_has_socket(each, pool) for each in folders))
    serves = any(each.is_socket() for each in (where.kubelet / "plugins/sriov-underlay").glob("dra*.sock"))
    return (found - seen.by_claims) | (seen.by_claims if serves else frozenset())


def _has_socket(folder: pathlib.Path, pool: assignment.Pool) -> bool:
    try:
        name = names.socket(pool.settings.prefix, pool.settings.name, names.socket_room(str(folder)))
    except errors.SriovError:  # the folder is too deep: the device plugin cannot have a socket there either
        return False
    return (folder / name).is_socket()
