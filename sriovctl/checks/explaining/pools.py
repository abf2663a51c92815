"""Steps about a resource: its pool, its devices, and what the kubelet makes of them. Pure."""

import collections
import difflib
from collections.abc import Iterator

from sriov import layout
from sriov.hardware import node_devices
from sriov.pools import assignment, resources
from sriovctl.checks.explaining import chain
from sriovctl.checks.explaining.chain import Case, ChainLink, Reply
from sriovctl.node import facts


def pool(case: Case, resource: str) -> Iterator[ChainLink]:
    seen = case.found.seen
    question = f"is there a pool {resource}?"
    if seen.configuration is None:
        yield ChainLink("pool", question, Reply.UNSEEN, seen.config_trouble)
        return
    pool = next((each for each in seen.dealt if each.resource == resource), None)
    if pool is None:
        names = [each.resource for each in seen.dealt]
        full = resource if "/" in resource else f"{case.found.where.prefix}/{resource}"
        near = difflib.get_close_matches(full, names, 1)
        remedy = f"write {near[0]} in the pod" if near else "add it to config.json, or name one that is there"
        text = f"config.json has {layout.some(names, chain.MOST) or 'no pool'}"
        yield ChainLink("pool", question, Reply.NO, text, remedy)
        return
    yield ChainLink("pool", question, Reply.YES, f"{case.found.where.config} has it")
    yield _filled(case.found, pool)
    yield from health(resource, list(pool.devices)) if pool.devices else ()


def _filled(found: facts.Facts, pool: assignment.Pool) -> ChainLink:
    question = f"does this node have devices for {pool.resource}?"
    if pool.devices:
        return ChainLink("devices", question, Reply.YES, f"{len(pool.devices)}")
    reasons = collections.Counter(
        assignment.why_not(pool.settings, one, found.seen.now) or "another pool comes first in the file"
        for one in found.seen.catalog.candidates.values()
        if one.role is node_devices.Role.VF
    )
    each = [f"{count} VFs: {text}" for text, count in reasons.most_common()]
    told = layout.some(each, chain.MOST, "; ") or "the node has no VF at all"
    return ChainLink("devices", question, Reply.NO, told, "change its selectors, or make VFs (`sriovctl provision`)")


def health(resource: str, members: list[assignment.Device]) -> Iterator[ChainLink]:
    question = f"is a device of {resource} healthy?" if len(members) > 1 else "is it healthy?"
    ailments = collections.Counter(each.ailment for each in members if each.ailment)
    healthy = sum(each.health is assignment.Health.HEALTHY for each in members)
    told = layout.some([f"{count} {text}" for text, count in ailments.most_common()], chain.MOST, "; ")
    evidence = f"{healthy} of {len(members)}" + (f"; {told}" if told else "")
    remedy = "" if healthy else "see `sriovctl doctor`, which has a remedy for each"
    yield ChainLink("healthy", question, Reply.YES if healthy else Reply.NO, evidence, remedy)


def registered(found: facts.Facts, resource: str) -> ChainLink:
    question = f"does the kubelet know {resource}?"
    if resource in found.seen.by_claims:
        text = "it is for claims (DRA), which the scheduler counts"
        if resource in found.sockets:
            return ChainLink("registered", question, Reply.YES, f"{text}; sriov-dra-driver has its socket there")
        return ChainLink(
            "registered", question, Reply.UNSEEN, f"{text}; whether sriov-dra-driver runs is not seen here"
        )
    if found.seen.told.trouble:
        return ChainLink("registered", question, Reply.UNSEEN, found.seen.told.trouble)
    known = found.seen.told.allocatable.get(resource)
    if known:
        return ChainLink("registered", question, Reply.YES, f"{len(known)} allocatable")
    there = resource in found.sockets
    text = "the socket is there and the kubelet does not list it" if there else "no device plugin serves it"
    remedy = "see the device plugin's log, and the kubelet's" if there else "start the device plugin"
    return ChainLink("registered", question, Reply.NO, text, remedy)


def kubelet(case: Case, resource: str) -> Iterator[ChainLink]:
    """Check that the resource is registered, free, and given to this pod."""
    step = registered(case.found, resource)
    yield step
    told = case.found.seen.told
    if step.answer is not Reply.YES or resource in case.found.seen.by_claims:
        return
    given = [device for device, holder in told.held_by(case.pod).items() if holder.resource == resource]
    wanted = case.spec.requests.get(resource, 1) if case.spec else 1
    if len(given) >= wanted:
        yield ChainLink("allocated", f"was {case.pod} given devices of it?", Reply.YES, ", ".join(given))
        return
    free = [device for device in told.allocatable[resource] if device not in told.holders]
    holders = sorted({str(told.holders[each]) for each in told.allocatable[resource] if each in told.holders})
    evidence = f"{len(free)} free, {wanted} wanted" + (
        f"; held by {layout.some(holders, chain.MOST)}" if holders else ""
    )
    enough = len(free) >= wanted
    yield ChainLink("free", f"is a device of {resource} free?", Reply.YES if enough else Reply.NO, evidence,
                    "" if enough else "end one of those pods, or make more VFs")  # fmt: skip
    here = case.pod in told.pods
    evidence = "the pod is here and holds none" if here else "the kubelet has no such pod: it is not on this node"
    remedy = f"let a container request {resource}" if here else "`kubectl describe pod` shows the scheduler's reason"
    yield ChainLink("allocated", f"was {case.pod} given devices of it?", Reply.NO, evidence, remedy)


def why_nowhere(found: facts.Facts, one: node_devices.Candidate) -> str:
    listed: tuple[resources.Resource, ...] = found.seen.configuration.resources if found.seen.configuration else ()
    told = [f"{each.full_name}: {assignment.why_not(each, one, found.seen.now)}" for each in listed]
    return "; ".join(told) or "config.json has no pool"
