"""Chain of reasons from a pod's request to its interface, step by step. Pure: a case in, steps out.

Each step asks one question and answers yes, no or cannot tell, with the evidence and, for a no, a remedy. The first no
is the reason; the steps after it are shown all the same, since two things may be wrong.
"""

import collections
import difflib
from collections.abc import Callable, Iterator

import msgspec

from sriov import devices, layout
from sriov.hardware import node_devices
from sriov.pools import assignment, resources
from sriov.state import call_log
from sriovctl.checks import membership, policies
from sriovctl.checks.chain import ChainLink, Reply
from sriovctl.node import attachments, facts, pod_spec, snapshot

_MOST = 5  # of what is listed in one piece of evidence


class Case(msgspec.Struct, frozen=True):
    """A pod (namespace/name), the resources in question, and its own specification if it was given."""

    found: facts.Facts
    pod: str
    resources: tuple[str, ...]
    spec: pod_spec.PodSpec | None = None


def of_pod(case: Case) -> list[ChainLink]:
    """Return the steps from request to interface. If it is unknown what the pod wants, what it was given counts."""
    steps = [*_requested(case), *_here(case)]
    for resource in case.resources:
        steps += [*_pool(case, resource), *_kubelet(case, resource)]
    mine = [each for each in case.found.held if case.pod in (each.pod, each.kubelet)]
    called = _added(case.found, mine, lambda call: f"{call.namespace}/{call.pod}" == case.pod)
    return [*steps, *_network(case), *_daemon(case), *called, *_attached(case, mine)]


def of_vf(found: facts.Facts, pci: devices.PciAddress) -> list[ChainLink]:
    """Return whether a pod could be given this VF, and if one has it, how it got it."""
    one = found.seen.catalog.candidates.get(pci)
    if one is None:
        text = f"sysfs has no network device {pci}"
        return [ChainLink("device", "is the device there?", Reply.NO, text, "see `sriovctl inventory`")]
    steps = [*_device(found, one)]
    pool, member = found.seen.members.get(pci, (None, None))
    if pool is not None and member is not None:
        steps += [*_health(pool.resource, [member]), _registered(found, pool.resource)]
    elif found.seen.configuration is not None:
        steps.append(ChainLink("pool", "is it in a pool?", Reply.NO, _why_nowhere(found, one), "change the selectors"))
    else:
        steps.append(ChainLink("pool", "is it in a pool?", Reply.UNSEEN, found.seen.config_trouble))
    pod = found.seen.pod_of(pci)
    case = Case(found, pod or "", () if pool is None else (pool.resource,))
    steps += [_owner(found, pci, pod), *_daemon(case)]
    mine = [each for each in found.held if each.record.pci == pci]
    if pod is not None or mine or any(call.device == pci for call in found.seen.calls):
        steps += _added(found, mine, lambda call: call.device == pci)
    return [*steps, *(step for each in mine for step in (_state(each), *_member(found, each)))]


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
    asked = ", ".join(f"{count} of {name}" for name, count in case.spec.requests.items())
    if not asked:
        yield ChainLink("requested", question, Reply.NO, "no container requests an extended resource",
                        "request one in resources.limits")  # fmt: skip
        return
    yield ChainLink("requested", question, Reply.YES, asked)
    if case.spec.unscheduled:
        yield ChainLink("scheduled", "has the scheduler placed it?", Reply.NO, case.spec.unscheduled,
                        "the steps below say what this node has")  # fmt: skip


def _given(case: Case) -> set[str]:
    return {holder.resource for holder in case.found.seen.told.held_by(case.pod).values()}


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


def _pool(case: Case, resource: str) -> Iterator[ChainLink]:
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
        text = f"config.json has {layout.some(names, _MOST) or 'no pool'}"
        yield ChainLink("pool", question, Reply.NO, text, remedy)
        return
    yield ChainLink("pool", question, Reply.YES, f"{case.found.where.config} has it")
    yield _filled(case.found, pool)
    yield from _health(resource, list(pool.devices)) if pool.devices else ()


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
    told = layout.some(each, _MOST, "; ") or "the node has no VF at all"
    return ChainLink("devices", question, Reply.NO, told, "change its selectors, or make VFs (`sriovctl provision`)")


def _health(resource: str, members: list[assignment.Device]) -> Iterator[ChainLink]:
    question = f"is a device of {resource} healthy?" if len(members) > 1 else "is it healthy?"
    ailments = collections.Counter(each.ailment for each in members if each.ailment)
    healthy = sum(each.health is assignment.Health.HEALTHY for each in members)
    told = layout.some([f"{count} {text}" for text, count in ailments.most_common()], _MOST, "; ")
    evidence = f"{healthy} of {len(members)}" + (f"; {told}" if told else "")
    remedy = "" if healthy else "see `sriovctl doctor`, which has a remedy for each"
    yield ChainLink("healthy", question, Reply.YES if healthy else Reply.NO, evidence, remedy)


def _registered(found: facts.Facts, resource: str) -> ChainLink:
    question = f"does the kubelet know {resource}?"
    if resource in found.seen.by_claims:
        return ChainLink("registered", question, Reply.YES, "published for claims (DRA), which the scheduler counts")
    if found.seen.told.trouble:
        return ChainLink("registered", question, Reply.UNSEEN, found.seen.told.trouble)
    known = found.seen.told.allocatable.get(resource)
    if known:
        return ChainLink("registered", question, Reply.YES, f"{len(known)} allocatable")
    there = resource in found.sockets
    text = "the socket is there and the kubelet does not list it" if there else "no device plugin serves it"
    remedy = "see the device plugin's log, and the kubelet's" if there else "start the device plugin"
    return ChainLink("registered", question, Reply.NO, text, remedy)


def _kubelet(case: Case, resource: str) -> Iterator[ChainLink]:
    """Check that the resource is registered, free, and given to this pod."""
    registered = _registered(case.found, resource)
    yield registered
    told = case.found.seen.told
    if registered.answer is not Reply.YES or resource in case.found.seen.by_claims:
        return
    given = [device for device, holder in told.held_by(case.pod).items() if holder.resource == resource]
    wanted = case.spec.requests.get(resource, 1) if case.spec else 1
    if len(given) >= wanted:
        yield ChainLink("allocated", f"was {case.pod} given devices of it?", Reply.YES, ", ".join(given))
        return
    free = [device for device in told.allocatable[resource] if device not in told.holders]
    holders = sorted({str(told.holders[each]) for each in told.allocatable[resource] if each in told.holders})
    evidence = f"{len(free)} free, {wanted} wanted" + (f"; held by {layout.some(holders, _MOST)}" if holders else "")
    enough = len(free) >= wanted
    yield ChainLink("free", f"is a device of {resource} free?", Reply.YES if enough else Reply.NO, evidence,
                    "" if enough else "end one of those pods, or make more VFs")  # fmt: skip
    here = case.pod in told.pods
    evidence = "the pod is here and holds none" if here else "the kubelet has no such pod: it is not on this node"
    remedy = f"let a container request {resource}" if here else "`kubectl describe pod` shows the scheduler's reason"
    yield ChainLink("allocated", f"was {case.pod} given devices of it?", Reply.NO, evidence, remedy)


def _network(case: Case) -> Iterator[ChainLink]:
    question = "is there a network that uses the device?"
    files = ", ".join(each.file for each in case.found.networks)
    if case.spec is not None and case.spec.networks:
        text = f"its annotation names {case.spec.networks}; of which type those are is in the API server"
        yield ChainLink("network", question, Reply.YES, text)
    elif files:
        yield ChainLink("network", question, Reply.YES, f"{files} in {case.found.where.cni_conf}")
    elif case.found.multus and case.spec is None:
        yield ChainLink(
            "network", question, Reply.UNSEEN, "with Multus the pod's annotation, in the API server, says so"
        )
    elif "networks" in case.found.seen.hidden:
        yield ChainLink("network", question, Reply.UNSEEN, case.found.seen.hidden["networks"])
    else:
        text = f"no annotation, and no file of type sriov in {case.found.where.cni_conf}"
        yield ChainLink("network", question, Reply.NO if case.spec or not case.found.multus else Reply.UNSEEN, text,
                        "annotate the pod with k8s.v1.cni.cncf.io/networks, or write a conflist")  # fmt: skip


def _daemon(case: Case) -> Iterator[ChainLink]:
    trouble = case.found.daemon_trouble
    question = "does the CNI daemon answer?"
    if hidden := case.found.seen.hidden.get("daemon"):
        yield ChainLink("daemon", question, Reply.UNSEEN, hidden)
    elif trouble:
        yield ChainLink("daemon", question, Reply.NO, trouble, "start it; runtimes try again by themselves")
    else:
        yield ChainLink("daemon", question, Reply.YES, str(case.found.where.daemon_socket))


def _added(
    found: facts.Facts,
    held: list[attachments.ListedAttachment],
    concerns: Callable[[call_log.CallOutcome], bool],
) -> Iterator[ChainLink]:
    """Report the last ADD, and what came after it; of what sriov-cni attached, its record. `held` are the VFs meant."""
    question = "was ADD called, and what was the result?"
    calls = [call for call in found.seen.calls if concerns(call)]
    added = next((call for call in reversed(calls) if call.command == "ADD"), None)
    before = [each for each in held if each.by is snapshot.Attacher.PREDECESSOR]
    if added is None and before:
        text = f"by sriov-cni, as it wrote down in {found.where.predecessor}; the pod's DEL is this daemon's"
        yield ChainLink("added", question, Reply.YES, text)
    elif added is None:
        text = "the daemon remembers no ADD; it keeps the last some hundred calls since the node's boot"
        yield ChainLink("added", question, Reply.UNSEEN, text)
    elif added.code:
        text = f"ADD of {added.ifname} on network {added.network} failed with code {added.code}: {added.message}"
        remedy = added.details or "these are the IPAM plugin's or the kernel's own words; look there"
        yield ChainLink("added", question, Reply.NO, text, remedy)
    else:
        text = f"ADD of {added.ifname} on network {added.network} succeeded in {added.ms:g} ms"
        later = [call.command for call in calls[calls.index(added) + 1 :]]
        yield ChainLink("added", question, Reply.YES, text + (f"; then {', '.join(later)}" if later else ""))


def _attached(case: Case, mine: list[attachments.ListedAttachment]) -> Iterator[ChainLink]:
    """Report the records, and whether the VF carries traffic."""
    for each in mine:
        yield _state(each)
        yield from _member(case.found, each)
        one = case.found.seen.catalog.candidates.get(each.record.pci)
        if one is not None:
            yield from _link(case.found, one)
    recorded = {each.record.pci for each in mine}
    for device in case.found.seen.told.held_by(case.pod):
        one = case.found.seen.catalog.candidates.get(device)
        if one is not None and one.role is node_devices.Role.VF and one.netdevs and device not in recorded:
            text = f"{device} was given to it and is in the host as {one.netdevs[0]}: no ADD has attached it"
            remedy = "have a network of the pod name its resource: Multus reads that from the network's annotation"
            yield ChainLink("attached", "is it with its pod?", Reply.NO, text, remedy)


def _member(found: facts.Facts, one: attachments.ListedAttachment) -> Iterator[ChainLink]:
    """Report whether it is the member of its cluster that it was to be, and held to policies if it was to be."""
    yield from membership.of(found, one)
    standing = found.policies.of(one)
    if standing is not None:
        yield policies.step(standing)


def _state(one: attachments.ListedAttachment) -> ChainLink:
    attached = one.state is attachments.State.ATTACHED
    text = f"{one.record.pci} as {one.record.owner.ifname} is {one.state.value}: {one.state.meaning}"
    if one.by is snapshot.Attacher.PREDECESSOR:
        text = f"{text}; sriov-cni wrote down MAC {attachments.mac(one.record)}, VLAN {one.record.wanted.vlan}"
    if one.record.problem:
        attached, text = False, f"{text}; taking it back has failed: {one.record.problem}"
    elif one.state is attachments.State.UNSEEN:
        return ChainLink("attached", "is it with its pod?", Reply.UNSEEN, text)
    remedy = "" if attached else "see `sriovctl attachments release`"
    return ChainLink("attached", "is it with its pod?", Reply.YES if attached else Reply.NO, text, remedy)


def _device(found: facts.Facts, one: node_devices.Candidate) -> Iterator[ChainLink]:
    text = f"{one.role.value} {one.index} of {one.pf_netdev or one.pf}" if one.pf else one.role.value
    yield ChainLink("device", "is the device there?", Reply.YES, text)
    bound = one.driver is not None
    yield ChainLink("driver", "does it have a driver?", Reply.YES if bound else Reply.NO, one.driver or "none",
                    "" if bound else f"echo {one.pci} > /sys/bus/pci/drivers_probe")  # fmt: skip
    yield from _link(found, one)


def _link(found: facts.Facts, one: node_devices.Candidate) -> Iterator[ChainLink]:
    uplink = found.seen.catalog.uplinks.get(one.pf) if one.pf else None
    if uplink is None:
        return
    works = uplink.up and uplink.carrier is not False
    evidence = f"{uplink.netdev} is {'up' if uplink.up else 'down'}" + (
        "" if uplink.carrier is not False else ", no carrier"
    )
    yield ChainLink("link", f"does PF {uplink.netdev} carry traffic?", Reply.YES if works else Reply.NO, evidence,
                    "" if works else f"ip link set {uplink.netdev} up; look at cable and switch")  # fmt: skip


def _why_nowhere(found: facts.Facts, one: node_devices.Candidate) -> str:
    listed: tuple[resources.Resource, ...] = found.seen.configuration.resources if found.seen.configuration else ()
    told = [f"{each.full_name}: {assignment.why_not(each, one, found.seen.now)}" for each in listed]
    return "; ".join(told) or "config.json has no pool"


def _owner(found: facts.Facts, pci: str, pod: str | None) -> ChainLink:
    question = "who has it?"
    if pod is not None:
        by = "the kubelet" if pci in found.seen.told.holders else "the ledger"
        return ChainLink("owner", question, Reply.YES, f"{pod}, by {by}")
    held = found.seen.held.get(devices.PciAddress(pci))
    if held is not None:
        return ChainLink("owner", question, Reply.YES, f"{held.record.owner}, by the record of {held.by.value}")
    if trouble := found.seen.told.trouble or found.seen.ledger_trouble:
        return ChainLink("owner", question, Reply.UNSEEN, trouble)
    return ChainLink("owner", question, Reply.YES, "nobody: it is free")
