"""Policies in force: the tables in the namespaces of this node's pods are as the policies say, and stay so.

What is there is asked of the kernel by one number, which changes with every change of nftables in a namespace, whoever
makes it. Only if it is another one than after the enforcer's own change, rules and addresses are compared. A daemon
that starts finds the digest of what is in force, and changes nothing if it is the digest of what is wanted.
"""

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import msgspec

from sriov import errors
from sriov.cluster import pod_policies
from sriov.linux import kernel, netns
from sriov_cni.dataplane.policies import policy_filter

_log = logging.getLogger(__name__)
_LEAST_MARK = 1 << 16  # those that people write are smaller

Key = tuple[tuple[int, int], str]
RulesOf = Callable[[str, str, str], pod_policies.PodPolicy | None]


class _Held(msgspec.Struct):
    """An attachment, and what was last done for it. `policy` None: it is not known yet, and nothing was done.

    `generation` is nftables' after that, `rules` those that were there then, as far as they were read.
    """

    holding: pod_policies.PolicedPod
    policy: pod_policies.PodPolicy | None = None
    wanted: policy_filter.Filter | None = None
    mark: int = 0
    generation: int = 0
    rules: tuple[bytes, ...] | None = None


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

    def arrived(self, inner: kernel.Kernel, key: Key, device: str) -> None:
        """Hold packet sockets on a device that has come into the pod and is not up yet. Raises UnsupportedError."""
        with self._lock:
            held = self._held.get(key)
            if held is not None and held.wanted is not None and held.wanted.raw:
                with _told_of_raw(device):
                    inner.run_nft(policy_filter.raw_chain(held.holding.scope, held.mark, device))
                _look(inner, held)

    def release(self, key: Key, pod: netns.Netns | None) -> None:
        """End it: the VF has left. What is in the namespace goes with that at the latest."""
        with self._lock:
            held = self._held.pop(key, None)
            if pod is None or held is None or pod.identity != key[0]:
                return
            try:
                with self._open() as net, net.inside(pod) as inner:
                    inner.run_nft(policy_filter.removal(held.holding.scope))
            except errors.SriovError as error:
                _log.warning("policies of %s stay in its namespace until that ends: %s", _name(held), error)

    def bring_all(self, rules_of: RulesOf, *, look: bool) -> None:
        """Put in force what has changed; with `look`, see also whether it is still there. Raises the last failure."""
        failure: errors.SriovError | None = None
        for key in list(self._held):
            try:
                self._bring_one(key, rules_of, look)
            except errors.SriovError as error:
                _log.error("policies of %s are not in force as they should be: %s", key[1], error)
                failure = error
        if failure is not None:
            raise failure

    def _bring_one(self, key: Key, rules_of: RulesOf, look: bool) -> None:
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return
            policy = rules_of(*held.holding.place) or held.policy
            if policy is None or (policy == held.policy and not (look and held.wanted)):
                return
            with self._inside(held) as inner:
                if inner is not None:
                    self._bring(inner, held, policy)

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
        return _is_whole(inner, held, wanted)

    def _intact(self, inner: kernel.Kernel, held: _Held, wanted: policy_filter.Filter) -> bool:
        """Report whether nobody has changed the table since; count and log it if somebody has."""
        if inner.nft_generation() == held.generation or _is_whole(inner, held, wanted):
            return True
        self.repaired += 1
        _log.error(
            "the rules of %s for its network policies were changed in its namespace: they are restored;"
            " a pod with NET_ADMIN can do that",
            _name(held),
        )
        return False


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
    mark = _mark()
    try:
        inner.run_nft(policy_filter.commands(wanted, mark, _devices(inner, wanted), fresh=True))
    except errors.KernelError:  # whatever is there is not of ours, or of before
        return False
    held.mark = mark
    _look(inner, held)
    return True


def _replace(inner: kernel.Kernel, held: _Held, wanted: policy_filter.Filter | None) -> None:
    """Put it in the place of whatever is there, in one transaction."""
    if wanted is None:
        inner.run_nft(policy_filter.removal(held.holding.scope))
        return
    mark = _mark()
    inner.run_nft(policy_filter.commands(wanted, mark, _devices(inner, wanted)))
    held.mark = mark
    _look(inner, held)


def _mark() -> int:
    return _LEAST_MARK + secrets.randbelow((1 << 32) - _LEAST_MARK)


def _look(inner: kernel.Kernel, held: _Held) -> None:
    """Note what is there; the rules are read when there is time for it."""
    held.generation, held.rules = inner.nft_generation(), None


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
    expected = len(rules) == wanted.rules(_devices(inner, wanted)) if held.rules is None else rules == held.rules
    whole = (
        expected
        and inner.nft_comment(table, policy_filter.STAMP) == wanted.digest
        and all(inner.nft_elements(table, name) == each for name, each in wanted.sets.items())
    )
    if whole:
        held.generation, held.rules = generation, rules
    return whole


def _devices(inner: kernel.Kernel, wanted: policy_filter.Filter) -> list[str]:
    """Return those of the scope's interfaces that are in the pod, if it matters."""
    there = {each.name for each in inner.links()} if wanted.raw else frozenset[str]()
    return [each for each in wanted.scope.devices if each in there]


def _name(held: _Held) -> str:
    namespace, pod, _ = held.holding.place
    return f"{namespace}/{pod} ({held.holding.scope.interface})"
