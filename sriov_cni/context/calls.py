"""Call of a runtime, and the daemon that carries it out: the two parameters of every command."""

import asyncio
import contextlib
import logging
import pathlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from sriov import devices, errors, timing
from sriov.attachment import announcing, detach
from sriov.attachment.node import Node
from sriov.daemon import background
from sriov.linux import kernel, netns
from sriov.state import call_log, daemon_problems, ledger, predecessor
from sriov_cni.context import attempts, ipam, locks, policy, rdma_promises, unconfirmed
from sriov_cni.context import claims as pod_claims
from sriov_cni.shim import wire
from sriov_cni.spec import cni_errors, environment, netconf
from sriov_cni.spec.cni_errors import Code

if TYPE_CHECKING:  # a daemon without Services imports nothing for them
    from sriov.cluster import pod_policies, services
    from sriov.state import policy_notes

log = logging.getLogger("sriov_cni")
_T = TypeVar("_T")

RunIpam = Callable[[str, str], Awaitable[wire.Outcome]]
"""Runs an IPAM plugin in the shim: CNI_COMMAND and plugin name to outcome."""


RunIpamAs = Callable[[str, str, wire.OwnCall], Awaitable[wire.Outcome]]
"""The same with variables and stdin of its own, not those of the runtime."""


Announce = Callable[[netns.Netns, kernel.Link, Sequence[kernel.IpInterface]], announcing.Announcer]
"""Makes the announcer of an interface's addresses: announcing.Announcer, or nothing without a real namespace."""


EnableIpv6 = Callable[[netns.Netns, str], None]
"""Enables IPv6 for an interface of a pod: announcing.enable_ipv6, or nothing without a real namespace."""


SetSysctls = Callable[[netns.Netns, Mapping[str, str]], None]
"""Sets sysctls of a namespace by their paths below /proc/sys/net: sysctls.write, or nothing without a real one."""


class Translation(Protocol):
    """What lets pods reach Services: dataplane.services.Translator, which has the promises of each call."""

    def apply(self, change: "services.TableChange") -> None: ...

    def admit(self, cookie: int) -> None: ...

    def admitted(self) -> set[int]: ...

    def dismiss(self, cookies: Iterable[int]) -> None: ...

    def reached(self) -> Iterable[tuple[int, int, bytes, bytes]]: ...

    def usage(self) -> Mapping[str, tuple[int, int]]: ...

    def prove(self) -> None: ...

    def problems(self) -> list[str]: ...


OtherBalancers = Callable[[], tuple[str, ...]]
"""Returns the programs of another balancer that serve all pods' sockets: dataplane.modes.other_balancers.CiliumLook."""


class PolicySource(Protocol):
    """What knows the policies of the cluster's pods. `network` is "" for the cluster's own, `uid` for a pod of which
    the name decides."""

    def rules_of(self, namespace: str, pod: str, network: str, uid: str = "") -> "pod_policies.PodPolicy | None":
        """Return what holds; None for a pod that is not known, as another one of this name is. For any thread."""

    async def wait_for(
        self, namespace: str, pod: str, network: str, seconds: float, uid: str = ""
    ) -> "pod_policies.PodPolicy | None":
        """The same, and wait for a pod that is not known yet."""

    def unwatched(self, network: str) -> str:
        """Return the kind of policies that are for this network and that nobody watches; "" if they are watched, or
        nobody has told which are."""

    async def changed(self) -> None:
        """Return when something may have changed since the last return."""

    def silence(self) -> float:
        """Return for how many seconds nobody has been there to tell of changes; 0 while somebody is."""

    def confirmed(self) -> bool:
        """Report whether this daemon was told it: what a former one has left may be older than what is in force."""


class Enforcement(Protocol):
    """What keeps policies in force: dataplane.policies.policy_enforcer.Enforcer, with the promises of each call."""

    @property
    def repaired(self) -> int: ...

    def adopt(self, holding: "pod_policies.PolicedPod") -> None: ...

    def hold(
        self, inner: kernel.Kernel, holding: "pod_policies.PolicedPod", policy: "pod_policies.PodPolicy"
    ) -> None: ...

    def arrived(self, inner: kernel.Kernel, key: tuple[tuple[int, int], str], device: str) -> None: ...

    def remember(self, key: tuple[tuple[int, int], str]) -> None: ...

    def mark_of(self, key: tuple[tuple[int, int], str]) -> int: ...

    def release(self, key: tuple[tuple[int, int], str], pod: netns.Netns | None) -> None: ...

    def bring_all(
        self,
        rules_of: "Callable[[str, str, str, str], pod_policies.PodPolicy | None]",
        *,
        look: bool,
        confirmed: bool = True,
    ) -> None: ...

    def problems(self) -> list[str]: ...
    def notes(self) -> "tuple[policy_notes.PolicyNote, ...]": ...

    def difference(
        self,
        inner: kernel.Kernel,
        holding: "pod_policies.PolicedPod",
        rules_of: "Callable[[str, str, str, str], pod_policies.PodPolicy | None]",
    ) -> str: ...


class Meter(Protocol):
    """Counter of what the daemon does."""

    def call(self, command: str, code: int, seconds: float, taken: timing.Steps) -> None:
        """Count a finished call, with code 0 or an error's; `command` is whatever the shim sent."""

    def repaired(self, *, restored: bool) -> None:
        """Count an attempt to detach a VF that was left without a DEL."""

    def chose(self, mode: str) -> None:
        """Count what `services: "auto"` was for a pod."""

    def policies_repaired(self, count: int) -> None:
        """Count pods whose rules for network policies had been changed and were restored."""

    def policies_failing(self, count: int) -> None:
        """Show for how many attachments the rules could not be made as they are to be."""


class Daemon(msgspec.Struct, frozen=True):
    """The node, its ledger and the VFs' locks. All calls of a node share one, because of the locks.

    `upstream` has the attachments that sriov-cni made. `fresh` are attachments of which no runtime may have heard
    yet. `chores` holds what goes on after an answer, so that the daemon's end waits for it; `tasks` what goes on all
    along; `stuck` are VFs that repair has failed to restore. `ipam_patience` is how many seconds a VF's way home
    waits for an IPAM plugin that works on its link. `via_host` are the networks that the node's
    rules for host links name; `service_ranges` returns those that the cluster takes ClusterIPs from, as far as they are
    known, and is None if nobody could say.
    """

    node: Node
    book: ledger.Ledger
    announce: Announce | None = None
    guard: policy.Guard | None = None
    pod_resources: pathlib.Path = pathlib.Path("/var/lib/kubelet/pod-resources/kubelet.sock")
    upstream: predecessor.Upstream | None = None
    meter: Meter | None = None
    calls_log: call_log.Recent | None = None
    troubles: daemon_problems.Trouble | None = None
    enable_ipv6: EnableIpv6 | None = None
    translation: Translation | None = None
    set_sysctls: SetSysctls | None = None
    service_ranges: Callable[[], tuple[str, ...]] | None = None
    claims: pod_claims.PodClaims | None = None
    other_balancers: OtherBalancers | None = None
    policies: PolicySource | None = None
    enforcement: Enforcement | None = None
    notes: "policy_notes.NoteFile | None" = None
    ipam_patience: float = 5.0
    fresh: unconfirmed.Unheard = msgspec.field(default_factory=unconfirmed.Unheard)
    vf_locks: locks.VfLocks = msgspec.field(default_factory=locks.VfLocks)
    promised: rdma_promises.Promises = msgspec.field(default_factory=rdma_promises.Promises)
    chores: set[asyncio.Task[None]] = msgspec.field(default_factory=set)
    via_host: set[str] = msgspec.field(default_factory=set)
    tasks: background.Background = msgspec.field(default_factory=background.Background)
    stuck: attempts.Attempts = msgspec.field(default_factory=attempts.Attempts)

    def problems(self) -> list[str]:
        """Return the problems of background tasks, policy and Services, a line for each. Only for the loop's thread."""
        policy_problem = None if self.guard is None else self.guard.problem()
        translation = [] if self.translation is None else self.translation.problems()
        unheld = [] if self.enforcement is None else self.enforcement.problems()
        return [*self.tasks.problems(), *self.stuck.problems(), *filter(None, [policy_problem]), *translation, *unheld]

    def later(self, work: Coroutine[Any, Any, None], what: str = "announcing") -> None:
        """Run this after the call."""
        task = asyncio.create_task(self.tasks.once(what, work))
        self.chores.add(task)
        task.add_done_callback(self.chores.discard)

    def record_of(self, pci: devices.PciAddress) -> ledger.Record | None:
        """Who holds the VF, by our ledger or by sriov-cni's."""
        record = self.book.read(pci)
        if record is None and self.upstream is not None:
            return self.upstream.of_device(pci)
        return record

    async def holder_of(self, pci: devices.PciAddress) -> ledger.Record | None:
        """The same, on an ADD's way: a thread reads sriov-cni's records, and only where it has this VF."""
        record = self.book.read(pci)
        if record is None and self.upstream is not None and self.upstream.has(pci):
            return await asyncio.to_thread(self.upstream.of_device, pci)
        return record

    def has_ended(self, record: ledger.Record) -> bool:
        """Report whether the owner's namespace is destroyed, for a VF without netdev, whose place does not show it."""
        if record.mark is None:
            return False
        with self.node.kernel() as net:
            return net.is_gone(record.mark)

    def detach(self, record: ledger.Record, pod: netns.Netns | None) -> None:
        """Take the VF back and remove its record, wherever that is. Blocks.

        A runtime that has lost its state passes another namespace than the VF's, or none.
        """
        self.fresh.end((record.owner.container_id, record.owner.ifname))
        with _where_it_went(record, pod) as place:
            detach.detach(self.node, self.book, record, place)
            if record.policy is not None and self.enforcement is not None:  # rules go after the VF, never before
                self.enforcement.release((record.netns, record.owner.ifname), place)
        if self.upstream is not None:
            self.upstream.end(record)


class Call(msgspec.Struct, frozen=True):
    """One call as the shim sent it. `pod` is the open namespace, None if there is none; the maker of Call closes it.

    `parts` are what it has attached or ended, one after the other, of a pod's claims: each is a call of its own.
    """

    invocation: environment.Invocation
    document: netconf.Document
    pod: netns.Netns | None
    run_ipam: RunIpam
    run_ipam_as: RunIpamAs | None = None
    parts: "list[Call]" = msgspec.field(default_factory=list)

    @property
    def key(self) -> unconfirmed.Key:
        return self.invocation.container_id, self.invocation.ifname

    @property
    def attachments(self) -> "Sequence[Call]":
        """What a call that has succeeded has attached or ended; nothing if the pod has no claim."""
        return self.parts if self.document.claims else (self,)

    def owns(self, record: ledger.Record | None) -> bool:
        own = self.invocation
        return record is not None and record.belongs_to(own.container_id, own.ifname, own.within)

    def has_inside(self, node: Node, record: ledger.Record | None) -> bool:
        """Report whether the VF, whose owner nobody knows any more, is in the pod of this call. Blocks."""
        if record is None or record.owner != ledger.UNKNOWN or self.pod is None:
            return False
        return detach.is_inside(node, record.pci, self.pod)

    def needs_pod(self, home: netns.Netns) -> netns.Netns:
        """Return the pod's namespace. Raises CniError with code 4 or 8 if it cannot take a VF."""
        path = self.invocation.netns
        if self.pod is None:
            raise cni_errors.CniError(
                Code.INVALID_ENVIRONMENT, f"CNI_NETNS {path!r} is not a network namespace", "does the pod still exist?"
            )
        if self.pod.identity == home.identity:
            raise cni_errors.CniError(
                Code.INVALID_NETNS, f"CNI_NETNS {path!r} is the host's own namespace", "a VF goes into a pod's"
            )
        return self.pod

    async def hand_to_ipam(self, network: netconf.Network) -> None:
        """Run the IPAM plugin with the call's own command. Raises the plugin's error."""
        if network.ipam:
            ipam.check(network.ipam, await self.run_ipam(self.invocation.command.value, network.ipam))

    async def release_address(self, network: netconf.Network) -> None:
        """Run the IPAM plugin's DEL, whatever the call's own command is. Raises the plugin's error."""
        if network.ipam:
            ipam.check(network.ipam, await self.run_ipam("DEL", network.ipam))


async def with_ipam(
    daemon: Daemon, network: netconf.Network, release: Coroutine[Any, Any, None], work: Coroutine[Any, Any, _T]
) -> tuple[_T, BaseException | None]:
    """Run the IPAM plugin's release and the VF's detach (`work`); returns work's result and the plugin's exception.

    A plugin that works on the link goes first: `dhcp` sends its release by it, and keeps the namespace until then. If
    it takes long, the VF is taken back all the same. Raises what the work raises, when both have ended.
    """
    releasing = asyncio.create_task(release)
    try:
        if ipam.needs_link(network.ipam):
            await asyncio.wait([releasing], timeout=daemon.ipam_patience)
        done = await work
    finally:
        await asyncio.wait([releasing])
        problem = releasing.exception()
    return done, problem


@contextlib.contextmanager
def _where_it_went(record: ledger.Record, pod: netns.Netns | None) -> Iterator[netns.Netns | None]:
    """Open the namespace that the VF was moved to: the call's own, else the one that its recorded path leads to."""
    if pod is not None and pod.identity == record.netns:
        yield pod
        return
    try:
        recorded = netns.open_path(record.owner.netns)
    except errors.NetnsError:
        yield pod
        return
    with recorded:
        yield recorded if recorded.identity == record.netns else pod


def find(daemon: Daemon, call: Call, device: devices.PciAddress | None) -> ledger.Record | None:
    """Return the record of the call's attachment; `device` is tried first."""
    record = daemon.book.read(device) if device else None
    if call.owns(record):
        return record
    names, within = (call.invocation.container_id, call.invocation.ifname), call.invocation.within
    record = daemon.book.find(*names, within)
    if record is None and daemon.upstream is not None and not within:
        return daemon.upstream.find(*names)
    return record
