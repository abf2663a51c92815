"""Steps about an interface: its network, the ADD, the record, and whether it carries traffic. Pure."""

from collections.abc import Callable, Iterator

from sriov.hardware import node_devices
from sriov.state import call_log
from sriovctl.checks.explaining import claims, membership, policies
from sriovctl.checks.explaining.chain import Case, ChainLink, Reply
from sriovctl.node import attachments, facts, snapshot


def network(case: Case) -> Iterator[ChainLink]:
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


def daemon(case: Case) -> Iterator[ChainLink]:
    trouble = case.found.daemon_trouble
    question = "does the CNI daemon answer?"
    if hidden := case.found.seen.hidden.get("daemon"):
        yield ChainLink("daemon", question, Reply.UNSEEN, hidden)
    elif trouble:
        yield ChainLink("daemon", question, Reply.NO, trouble, "start it; runtimes try again by themselves")
    else:
        yield ChainLink("daemon", question, Reply.YES, str(case.found.where.daemon_socket))


def added(
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


def attached(case: Case, mine: list[attachments.ListedAttachment]) -> Iterator[ChainLink]:
    """Report the records, and whether the VF carries traffic."""
    for each in mine:
        yield state(each)
        yield from member(case.found, each)
        one = case.found.seen.catalog.candidates.get(each.record.pci)
        if one is not None:
            yield from link(case.found, one)
    recorded = {each.record.pci for each in mine}
    given = dict.fromkeys((*case.found.seen.told.held_by(case.pod), *claims.ids(case.found.seen, case.pod)))
    for device in given:
        one = case.found.seen.catalog.candidates.get(device)
        if one is not None and one.role is node_devices.Role.VF and one.netdevs and device not in recorded:
            text = f"{device} was given to it and is in the host as {one.netdevs[0]}: no ADD has attached it"
            remedy = "have a network of the pod name its resource: Multus reads that from the network's annotation"
            yield ChainLink("attached", "is it with its pod?", Reply.NO, text, remedy)


def member(found: facts.Facts, one: attachments.ListedAttachment) -> Iterator[ChainLink]:
    """Report whether it is the member of its cluster that it was to be, and held to policies if it was to be."""
    yield from membership.of(found, one)
    standing = found.policies.of(one)
    if standing is not None:
        yield policies.step(standing)


def state(one: attachments.ListedAttachment) -> ChainLink:
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


def link(found: facts.Facts, one: node_devices.Candidate) -> Iterator[ChainLink]:
    uplink = found.seen.catalog.uplinks.get(one.pf) if one.pf else None
    if uplink is None:
        return
    works = uplink.up and uplink.carrier is not False
    evidence = f"{uplink.netdev} is {'up' if uplink.up else 'down'}" + (
        "" if uplink.carrier is not False else ", no carrier"
    )
    yield ChainLink("link", f"does PF {uplink.netdev} carry traffic?", Reply.YES if works else Reply.NO, evidence,
                    "" if works else f"ip link set {uplink.netdev} up; look at cable and switch")  # fmt: skip
