"""An attachment that is held to policies, and what was last done for it."""

import logging
import time

import msgspec

from sriov.cluster import pod_policies
from sriov.state import policy_notes
from sriov_cni.dataplane.policies import policy_filter, whereabouts

_log = logging.getLogger(__name__)


class HeldPod(msgspec.Struct):
    """`policy` None: it is not known yet, and nothing was done.

    `generation` is nftables' after that, if nobody else has changed anything, and `rules` those that were there then,
    None before they were read. `chained` are the interfaces whose packet sockets are held. `problem` is why what is
    wanted is not in force, `digest` that of `digested`.
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

    def report(self, why: str) -> None:
        """Note why the policy is not in force, "" if it is, and log it once."""
        before, self.problem = self.problem, why
        if why and why != before:
            _log.error("%s", self.trouble)
        elif before and not why:
            _log.info("policies of %s are in force again, or select it no more", self.name)

    @property
    def trouble(self) -> str:
        return f"policies of {self.name} are not in force: {self.problem}"

    @property
    def name(self) -> str:
        namespace, pod, _ = self.holding.place
        return f"{namespace}/{pod} ({self.holding.scope.interface})"

    @property
    def table(self) -> str:
        return policy_filter.table_name(self.holding.scope.interface)
