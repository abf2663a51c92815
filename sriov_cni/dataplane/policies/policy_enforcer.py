"""Policies in force: the tables in the namespaces of this node's pods are as the policies say, and stay so.

What is there is asked of the kernel by one number, which changes with every change of nftables in a namespace, whoever
makes it. Only if it is another one than after the enforcer's own change, rules and addresses are compared. A daemon
that starts finds the digest of what is in force, and changes nothing if it is the digest of what is wanted.
"""

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import msgspec

from sriov import errors
from sriov.cluster import pod_policies
from sriov.linux import kernel, netns
from sriov.state import policy_notes
from sriov_cni.dataplane.policies import policy_filter, policy_sight, whereabouts

_log = logging.getLogger(__name__)
_LEAST_MARK = 1 << 16  # those that people write are smaller

Key = tuple[tuple[int, int], str]
RulesOf = Callable[[str, str, str], pod_policies.PodPolicy | None]


class _Held(msgspec.Struct):
    """An attachment, and what was last done for it. `policy` None: it is not known yet, and nothing was done.

    `generation` is nftables' after that, `rules` those that were there then, None before they were read. `chained`
    are the interfaces whose packet sockets are held. `problem` is why what is wanted is not in force, `digest`
    that of `digested`.
    """

    holding: pod_policies.PolicedPod
    policy: pod_policies.PodPolicy | None = None
    wanted: policy_filter.Filter | None = None
    mark: int = 0
    generation: int = 0
    rules: tuple[bytes, ...] | None = None
    chained: list[str] = []
    seen: whereabouts.Seen = msgspec.field(default_factory=whereabouts.Seen)
    problem: str = ""
    repairs: int = 0
    repaired: float = 0.0  # seconds since 1970
    digest: str = ""
    digested: policy_filter.Filter | None = None

    def note(self) -> policy_notes.PolicyNote:
        namespace, pod, _ = self.holding.place
        if self.digested is not self.wanted:  # of many addresses it takes time, which is none of an ADD's
            self.digest, self.digested = "" if self.wanted is None else self.wanted.digest, self.wanted
        return policy_notes.PolicyNote(
            namespace=namespace,
            pod=pod,
            interface=self.holding.scope.interface,
            netns=self.holding.netns,
            digest=None if self.policy is None else self.digest,
            problem=self.problem,
            repairs=self.repairs,
            repaired=self.repaired,
        )

    def mended(self) -> None:
        """Note that something was set right that somebody in the pod had changed."""
        self.repairs, self.repaired = self.repairs + 1, time.time()


class Enforcer:
    """For any thread. `repaired` counts tables that somebody else had changed."""

    def __init__(self, open_kernel: Callable[[], AbstractContextManager[kernel.Kernel]]) -> None:
        self._open = open_kernel
        self._held: dict[Key, _Held] = {}
        self._lock = threading.Lock()
        self.repaired = 0

    def adopt(self, holding: pod_policies.PolicedPod) -> None:
        """Take over an attachment of a former daemon; what holds for it stays until its policy is known."""
        with self._lock:
            self._held.setdefault(holding.key, _Held(holding))

    def hold(self, inner: kernel.Kernel, holding: pod_policies.PolicedPod, policy: pod_policies.PodPolicy) -> None:
        """Put the policy in force in the pod, before its VF is there, or for another scope. Raises KernelError."""
        with self._lock:
            held = self._held.get(holding.key)
            if held is None or held.holding != holding:
                held = self._held[holding.key] = _Held(holding)
            self._bring(inner, held, policy)
            held.problem = ""

    def arrived(self, inner: kernel.Kernel, key: Key, device: str) -> None:
        """Hold packet sockets on a device that has come into the pod and is not up yet. Raises UnsupportedError."""
        with self._lock:
            held = self._held.get(key)
            if held is not None and held.wanted is not None and held.wanted.raw:
                with _told_of_raw(device):
                    inner.run_nft(policy_filter.raw_chain(held.holding.scope, held.mark, device))
                _look(inner, held, held.mark, [*held.chained, device])

    def mark_of(self, key: Key) -> int:
        """Return the mark by which packet sockets of the daemon's pass in the pod; 0 if none is needed."""
        with self._lock:
            held = self._held.get(key)
            return 0 if held is None else held.mark

    def release(self, key: Key, pod: netns.Netns | None) -> None:
        """End it: the VF has left. What is in the namespace goes with that at the latest."""
        with self._lock:
            held = self._held.pop(key, None)
            if pod is None or held is None or held.holding.driver or pod.identity != key[0]:
                return
            try:
                with self._open() as net, net.inside(pod) as inner:
                    inner.run_nft(policy_filter.removal(held.holding.scope))
            except errors.SriovError as error:
                _log.warning("policies of %s stay in its namespace until that ends: %s", _name(held), error)

    def problems(self) -> list[str]:
        """Return a line for each pod that is not held to a policy that selects it."""
        return [_unheld(each) for each in list(self._held.values()) if each.problem]

    def notes(self) -> tuple[policy_notes.PolicyNote, ...]:
        """Return what holds for each attachment, and since when it does not."""
        return tuple(filter(None, map(self._note, list(self._held))))

    def difference(self, inner: kernel.Kernel, holding: pod_policies.PolicedPod, rules_of: RulesOf) -> str:
        """Return in words what in the pod is not as it was put in force; "" if all is. Raises KernelError."""
        interface = holding.scope.interface
        with self._lock:
            held = self._held.get(holding.key)
            if held is not None and held.policy is not None:
                return held.problem or policy_sight.difference(inner, interface, held.wanted, held.rules)
        policy = rules_of(*holding.place)  # of a former daemon's, which is not taken over yet
        if policy is None:
            return ""
        return policy_sight.difference(inner, interface, policy_filter.compiled(policy, holding.scope))

    def bring_all(self, rules_of: RulesOf, *, look: bool, confirmed: bool = True) -> None:
        """Put in force what has changed; with `look`, see also whether it is still there. Raises the last failure.

        What is not `confirmed` may be older than what a former daemon has put in force: that is left as it is then.
        """
        failure: errors.SriovError | None = None
        for key in list(self._held):
            try:
                self._bring_one(key, rules_of, look, confirmed)
            except errors.SriovError as error:
                _log.error("policies of %s are not in force as they should be: %s", key[1], error)
                self._failed(key, str(error))
                failure = error
        if failure is not None:
            raise failure

    def _note(self, key: Key) -> policy_notes.PolicyNote | None:
        """Take the lock for one alone: an ADD may wait for it."""
        with self._lock:
            held = self._held.get(key)
            return None if held is None else held.note()

    def _failed(self, key: Key, problem: str) -> None:
        with self._lock:
            if (held := self._held.get(key)) is not None:
                held.problem = problem

    def _bring_one(self, key: Key, rules_of: RulesOf, look: bool, confirmed: bool) -> None:
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return
            policy = rules_of(*held.holding.place) or held.policy
            if policy is None or (policy == held.policy and not (look and held.wanted)):
                return
            if held.holding.driver:
                held.policy = policy
                _report(held, whereabouts.unseen(held.holding.driver) if policy.selected else "")
                return
            with self._inside(held) as inner:
                first = held.policy is None
                if inner is not None and not (first and not confirmed and _is_anothers(inner, held, policy)):
                    why = self._look_for(inner, held, policy)
                    self._bring(inner, held, policy)
                    _report(held, why)

    def _look_for(self, inner: kernel.Kernel, held: _Held, policy: pod_policies.PodPolicy) -> str:
        """See whether the rules still meet the pod's interfaces, which root in the pod can rename and move. Returns why
        they do not, "" if they do."""
        if not policy.selected:
            return ""
        renamed, missing = whereabouts.look(inner, held.holding.scope, held.seen)
        for name, was in renamed:
            self.repaired += 1
            held.mended()
            _log.error("interface %s of %s was renamed to %s in the pod: it has its name again", name, _name(held), was)
        return missing

    @contextlib.contextmanager
    def _inside(self, held: _Held) -> Iterator[kernel.Kernel | None]:
        """Open the pod's namespace; None if that has ended and its DEL is still to come."""
        try:
            pod = netns.open_path(held.holding.path)
        except errors.NetnsError:
            yield None
            return
        with pod:
            if pod.identity != held.holding.netns:
                yield None
                return
            with self._open() as net, net.inside(pod) as inner:
                yield inner

    def _bring(self, inner: kernel.Kernel, held: _Held, policy: pod_policies.PodPolicy) -> None:
        first, same = held.policy is None, policy == held.policy
        wanted = held.wanted if same else policy_filter.compiled(policy, held.holding.scope)
        if first:
            done = self._found(inner, held, wanted)
        elif held.wanted is None:
            done = wanted is None
        else:
            done = self._intact(inner, held, held.wanted) and _changed(inner, held, held.wanted, wanted)
        if not done and not (first and wanted is not None and _placed(inner, held, wanted)):
            _replace(inner, held, wanted)
        held.policy, held.wanted = policy, wanted

    def _found(self, inner: kernel.Kernel, held: _Held, wanted: policy_filter.Filter | None) -> bool:
        """Report whether what is there, of a former daemon, is what is wanted."""
        digest = inner.nft_comment(policy_filter.table_name(held.holding.scope.interface), policy_filter.STAMP)
        if digest == "" or wanted is None or digest != wanted.digest:
            return digest == "" and wanted is None
        held.chained = policy_sight.devices(inner, wanted)
        return _is_whole(inner, held, wanted)

    def _intact(self, inner: kernel.Kernel, held: _Held, wanted: policy_filter.Filter) -> bool:
        """Report whether nobody has changed the table since; count and log it if somebody has."""
        as_before = {*policy_sight.devices(inner, wanted)} == {*held.chained}
        if as_before and (inner.nft_generation() == held.generation or _is_whole(inner, held, wanted)):
            return True
        self.repaired += 1
        held.mended()
        _log.error(
            "the rules of %s for its network policies were changed in its namespace: they are restored;"
            " a pod with NET_ADMIN can do that",
            _name(held),
        )
        return False


def _is_anothers(inner: kernel.Kernel, held: _Held, policy: pod_policies.PodPolicy) -> bool:
    """Report whether there are rules, of another policy than this."""
    scope, wanted = held.holding.scope, policy_filter.compiled(policy, held.holding.scope)
    digest = inner.nft_comment(policy_filter.table_name(scope.interface), policy_filter.STAMP)
    return digest not in ("", wanted.digest if wanted else "")


@contextlib.contextmanager
def _told_of_raw(device: str) -> Iterator[None]:
    try:
        yield
    except errors.KernelError as error:
        raise errors.UnsupportedError(
            f"policyRaw: the kernel takes no rules for what leaves {device}: {error.message}",
            "use Linux 5.16 or later, with NETFILTER_EGRESS; or leave policyRaw out",
        ) from error


def _placed(inner: kernel.Kernel, held: _Held, wanted: policy_filter.Filter) -> bool:
    """Put it in a namespace that has none yet, which is quicker; report whether that was so."""
    mark, devices = _mark(), policy_sight.devices(inner, wanted)
    try:
        inner.run_nft(policy_filter.commands(wanted, mark, devices, fresh=True))
    except errors.KernelError:  # whatever is there is not of ours, or of before
        return False
    _look(inner, held, mark, devices)
    return True


def _replace(inner: kernel.Kernel, held: _Held, wanted: policy_filter.Filter | None) -> None:
    """Put it in the place of whatever is there, in one transaction."""
    if wanted is None:
        inner.run_nft(policy_filter.removal(held.holding.scope))
        return
    mark, devices = _mark(), policy_sight.devices(inner, wanted)
    inner.run_nft(policy_filter.commands(wanted, mark, devices))
    _look(inner, held, mark, devices)


def _mark() -> int:
    return _LEAST_MARK + secrets.randbelow((1 << 32) - _LEAST_MARK)


def _look(inner: kernel.Kernel, held: _Held, mark: int, devices: list[str]) -> None:
    """Note what is there, before anybody in the pod can have changed it."""
    held.mark, held.chained = mark, devices
    held.generation = inner.nft_generation()
    held.rules = inner.nft_rules(policy_filter.table_name(held.holding.scope.interface))


def _changed(
    inner: kernel.Kernel, held: _Held, before: policy_filter.Filter, wanted: policy_filter.Filter | None
) -> bool:
    """Change addresses, if no more than that has changed; report whether that was enough."""
    if before == wanted:
        return True
    commands = None if wanted is None else policy_filter.change(before, wanted)
    if commands is None:
        return False
    try:
        inner.run_nft(commands)
    except errors.KernelError as error:
        _log.warning("addresses of a policy could not be changed, so all of it is replaced: %s", error)
        return False
    held.generation = inner.nft_generation()
    return True


def _is_whole(inner: kernel.Kernel, held: _Held, wanted: policy_filter.Filter) -> bool:
    """Compare what is in the kernel, digest, rules and addresses, and note it if it is what is wanted."""
    table, generation = policy_filter.table_name(wanted.scope.interface), inner.nft_generation()
    rules = inner.nft_rules(table)
    whole = not policy_sight.lack(inner, wanted, rules, held.rules)
    if whole:
        held.generation, held.rules = generation, rules
    return whole


def _report(held: _Held, why: str) -> None:
    """Note why the policy is not in force, "" if it is, and log it once."""
    before, held.problem = held.problem, why
    if why and why != before:
        _log.error("%s", _unheld(held))
    elif before and not why:
        _log.info("policies of %s are in force again, or select it no more", _name(held))


def _unheld(held: _Held) -> str:
    return f"policies of {_name(held)} are not in force: {held.problem}"


def _name(held: _Held) -> str:
    namespace, pod, _ = held.holding.place
    return f"{namespace}/{pod} ({held.holding.scope.interface})"
