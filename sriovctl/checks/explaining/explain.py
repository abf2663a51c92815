"""Chain of reasons from a pod's request to its interface, step by step. Pure: a case in, steps out.

Each step asks one question and answers yes, no or cannot tell, with the evidence and, for a no, a remedy. The first no
is the reason; the steps after it are shown all the same, since two things may be wrong.
"""

import difflib
from collections.abc import Iterator

from sriov import devices
from sriov.hardware import node_devices
from sriovctl.checks.explaining import attaching, claims, pools
from sriovctl.checks.explaining.chain import Case, ChainLink, Reply
from sriovctl.node import facts


def of_pod(case: Case) -> list[ChainLink]:
    """Return the steps from request to interface. If it is unknown what the pod wants, what it was given counts."""
    steps = [*_requested(case), *_here(case), *claims.of_pod(case)]
    for resource in case.resources:
        steps += [*pools.pool(case, resource), *pools.kubelet(case, resource)]
    mine = [each for each in case.found.held if case.pod in (each.pod, each.kubelet)]
    called = attaching.added(case.found, mine, lambda call: f"{call.namespace}/{call.pod}" == case.pod)
    return [*steps, *attaching.network(case), *attaching.daemon(case), *called, *attaching.attached(case, mine)]


def of_vf(found: facts.Facts, pci: devices.PciAddress) -> list[ChainLink]:
    """Return whether a pod could be given this VF, and if one has it, how it got it."""
    one = found.seen.catalog.candidates.get(pci)
    if one is None:
        text = f"sysfs has no network device {pci}"
        return [ChainLink("device", "is the device there?", Reply.NO, text, "see `sriovctl inventory`")]
    steps = [*_device(found, one)]
    pool, member = found.seen.members.get(pci, (None, None))
    if pool is not None and member is not None:
        steps += [*pools.health(pool.resource, [member]), pools.registered(found, pool.resource)]
    elif found.seen.configuration is not None:
        steps.append(
            ChainLink("pool", "is it in a pool?", Reply.NO, pools.why_nowhere(found, one), "change the selectors")
        )
    else:
        steps.append(ChainLink("pool", "is it in a pool?", Reply.UNSEEN, found.seen.config_trouble))
    pod = found.seen.pod_of(pci)
    case = Case(found, pod or "", () if pool is None else (pool.resource,))
    steps += [*claims.of_device(found, pci), _owner(found, pci, pod), *attaching.daemon(case)]
    mine = [each for each in found.held if each.record.pci == pci]
    if pod is not None or mine or any(call.device == pci for call in found.seen.calls):
        steps += attaching.added(found, mine, lambda call: call.device == pci)
    return [*steps, *(step for each in mine for step in (attaching.state(each), *attaching.member(found, each)))]


def reason(steps: list[ChainLink]) -> ChainLink | None:
    """Return the first step with a no; None if there is none, as far as can be seen."""
    return next((each for each in steps if each.answer is Reply.NO), None)


def unseen(steps: list[ChainLink]) -> list[ChainLink]:
    """Return the steps that leave open whether all is well.

    A VF that is with its pod proves the others, but not that the pod is held to its policies.
    """
    proven = any(each.name == "attached" and each.answer is Reply.YES for each in steps)
    return [each for each in steps if each.answer is Reply.UNSEEN and (each.name == "policy" or not proven)]


def _requested(case: Case) -> Iterator[ChainLink]:
    question = "does the pod request a resource?"
    if case.spec is None:
        known = ", ".join(case.resources)
        if case.resources and set(case.resources) <= _given(case):
            yield ChainLink("requested", question, Reply.YES, f"{known}, by what it was given")
            return
        evidence = f"only the API server knows; looking at {known}" if known else "only the API server knows"
        yield ChainLink("requested", question, Reply.UNSEEN, f"{evidence} (pass --pod-file, or --resource)")
        return
    resources = [f"{count} of {name}" for name, count in case.spec.requests.items()]
    asked = ", ".join((*resources, *(f"the claim {name}" for name in case.spec.claims)))
    if not asked:
        text = "no container requests an extended resource, and it has no claim"
        yield ChainLink("requested", question, Reply.NO, text,
                        "request one in resources.limits, or a claim in resourceClaims")  # fmt: skip
        return
    yield ChainLink("requested", question, Reply.YES, asked)
    if case.spec.unscheduled:
        yield ChainLink("scheduled", "has the scheduler placed it?", Reply.NO, case.spec.unscheduled,
                        "the steps below say what this node has")  # fmt: skip


def _given(case: Case) -> set[str]:
    by_kubelet = {holder.resource for holder in case.found.seen.told.held_by(case.pod).values()}
    return by_kubelet | {each.resource for each in claims.devices(case.found.seen, case.pod)}


def _here(case: Case) -> Iterator[ChainLink]:
    """Ask whether there is such a pod. One that the scheduler has not placed is nowhere."""
    question, told = "is the pod on this node?", case.found.seen.told
    if case.pod in told.pods:
        yield ChainLink("here", question, Reply.YES, "the kubelet has it")
    elif told.trouble:
        yield ChainLink("here", question, Reply.UNSEEN, told.trouble)
    elif case.spec is None or not case.spec.unscheduled:
        near = difflib.get_close_matches(case.pod, sorted(told.pods), 3)
        ended = any(f"{call.namespace}/{call.pod}" == case.pod for call in case.found.seen.calls)
        text = f"the kubelet has no pod {case.pod}" + (", which has been here before" if ended else "")
        remedy = f"is {' or '.join(near)} meant?" if near else "`kubectl get pod -A -o wide` shows where it is"
        yield ChainLink("here", question, Reply.NO, text, remedy)


def _device(found: facts.Facts, one: node_devices.Candidate) -> Iterator[ChainLink]:
    text = f"{one.role.value} {one.index} of {one.pf_netdev or one.pf}" if one.pf else one.role.value
    yield ChainLink("device", "is the device there?", Reply.YES, text)
    bound = one.driver is not None
    yield ChainLink("driver", "does it have a driver?", Reply.YES if bound else Reply.NO, one.driver or "none",
                    "" if bound else f"echo {one.pci} > /sys/bus/pci/drivers_probe")  # fmt: skip
    yield from attaching.link(found, one)


def _owner(found: facts.Facts, pci: str, pod: str | None) -> ChainLink:
    question = "who has it?"
    if pod is not None:
        by_claim = "a claim" if pci in found.seen.granted else "the ledger"
        by = "the kubelet" if pci in found.seen.told.holders else by_claim
        return ChainLink("owner", question, Reply.YES, f"{pod}, by {by}")
    held = found.seen.held.get(devices.PciAddress(pci))
    if held is not None:
        return ChainLink("owner", question, Reply.YES, f"{held.record.owner}, by the record of {held.by.value}")
    if trouble := found.seen.told.trouble or found.seen.ledger_trouble:
        return ChainLink("owner", question, Reply.UNSEEN, trouble)
    return ChainLink("owner", question, Reply.YES, "nobody: it is free")
