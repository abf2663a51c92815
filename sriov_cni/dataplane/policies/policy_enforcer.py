"""Policies in force: the tables in the namespaces of this node's pods are as the policies say, and stay so.

What is there is asked of the kernel by one number, which changes with every change of nftables in a namespace, whoever
makes it. Only if it is another one than after the enforcer's own change, rules and addresses are compared. A daemon
that starts finds the digest of what is in force, and changes nothing if it is the digest of what is wanted.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from sriov import errors
from sriov.cluster import pod_policies
from sriov.linux import kernel, netns
from sriov.state import policy_notes
from sriov_cni.dataplane.policies import pod_tables, policy_chains, policy_filter, policy_sight, whereabouts
from sriov_cni.dataplane.policies.held_pods import HeldPod

_log = logging.getLogger(__name__)

Key = tuple[tuple[int, int], str]
RulesOf = Callable[[str, str, str, str], pod_policies.PodPolicy | None]
"""Of a pod's namespace and name, its network, and its UID."""


class Enforcer:
    """For any thread. `repaired` counts tables that somebody else had changed."""

    def __init__(self, open_kernel: Callable[[], AbstractContextManager[kernel.Kernel]]) -> None:
        self._open = open_kernel
        self._held: dict[Key, HeldPod] = {}
        self._lock = threading.Lock()
        self.repaired = 0

    def adopt(self, holding: pod_policies.PolicedPod) -> None:
        """Take over an attachment of a former daemon; what holds for it stays until its policy is known."""
        with self._lock:
            self._held.setdefault(holding.key, HeldPod(holding))

    def hold(self, inner: kernel.Kernel, holding: pod_policies.PolicedPod, policy: pod_policies.PodPolicy) -> None:
        """Put the policy in force in the pod, before its VF is there, or for another scope.

        Raises KernelError, UnsupportedError.
        """
        with self._lock:
            self._refuse_one_label(holding)
            held = self._held.get(holding.key)
            if held is None or held.holding != holding:
                held = self._held[holding.key] = HeldPod(holding)
            with self._counting(held):
                pod_tables.bring(inner, held, policy)
            held.problem = ""

    def _refuse_one_label(self, holding: pod_policies.PolicedPod) -> None:
        """By a connection's label it is known which interface has let it pass: two of a pod must not have one."""
        own = policy_chains.label(holding.scope)
        for netns_, interface in self._held:
            other = pod_policies.Scope(interface)
            if netns_ == holding.netns and interface != holding.scope.interface and policy_chains.label(other) == own:
                raise errors.UnsupportedError(
                    f"network policies cannot tell the interfaces {interface} and {holding.scope.interface} of one pod"
                    f" apart: connections of both have the label {own}",
                    "give one of them another name",
                )

    def arrived(self, inner: kernel.Kernel, key: Key, device: str) -> None:
        """Hold packet sockets on a device that has come into the pod and is not up yet. Raises UnsupportedError."""
        with self._lock:
            held = self._held.get(key)
            if held is not None and held.wanted is not None and held.wanted.raw:
                pod_tables.arrived(inner, held, device)

    def remember(self, key: Key) -> None:
        """Read an attachment's rules when its ADD has been answered. Raises KernelError."""
        with self._lock:
            held = self._held.get(key)
            if held is None or held.wanted is None or held.holding.driver:
                return
            with self._inside(held) as inner:
                if inner is not None:
                    pod_tables.remember(inner, held)

    def mark_of(self, key: Key) -> int:
        """Return the mark by which packet sockets of the daemon's pass in the pod; 0 if none is needed.

        Without the lock: it is asked for on the daemon's event loop, and a pod may make the lock's holder wait.
        """
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
                _log.warning("policies of %s stay in its namespace until that ends: %s", held.name, error)

    def problems(self) -> list[str]:
        """Return a line for each pod that is not held to a policy that selects it."""
        return [each.trouble for each in list(self._held.values()) if each.problem]

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
        policy = rules_of(*holding.asked)  # of a former daemon's, which is not taken over yet
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
            policy = rules_of(*held.holding.asked) or held.policy
            if policy is None or (policy == held.policy and not (look and held.wanted)):
                return
            if held.holding.driver:
                held.policy = policy
                held.report(whereabouts.unseen(held.holding.driver) if policy.selected else "")
                return
            with self._inside(held) as inner:
                first = held.policy is None
                if inner is not None and not (first and not confirmed and pod_tables.is_anothers(inner, held, policy)):
                    with self._counting(held):
                        why = pod_tables.find(inner, held, policy)
                        pod_tables.bring(inner, held, policy)
                    pod_tables.remember(inner, held)
                    held.report(why)

    @contextlib.contextmanager
    def _counting(self, held: HeldPod) -> Iterator[None]:
        """Count what is set right meanwhile."""
        before = held.repairs
        try:
            yield
        finally:
            self.repaired += held.repairs - before

    @contextlib.contextmanager
    def _inside(self, held: HeldPod) -> Iterator[kernel.Kernel | None]:
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
