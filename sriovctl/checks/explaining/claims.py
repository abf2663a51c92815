"""Steps about ResourceClaims: whether a pod's are prepared on this node, and which devices they have. Pure."""

from collections.abc import Iterator

from sriov import devices as pci_devices
from sriov import layout
from sriov.state import grants
from sriovctl.checks.explaining import chain
from sriovctl.checks.explaining.chain import Case, ChainLink, Reply
from sriovctl.node import facts, snapshot


def of_pod(case: Case) -> Iterator[ChainLink]:
    """Report on each claim that the pod has, by its own word or by that of a grant."""
    seen = case.found.seen
    mine = {_name(grant): grant for grant in seen.granted.values() if grant.is_for(case.pod)}
    namespace = case.pod.partition("/")[0]
    asked = [f"{namespace}/{name}" for name in (case.spec.claims if case.spec else ())]
    for name in dict.fromkeys((*asked, *mine)):
        yield _step(seen, name, mine.get(name))


def of_device(found: facts.Facts, pci: pci_devices.PciAddress) -> Iterator[ChainLink]:
    grant = found.seen.granted.get(pci)
    if grant is not None:
        yield ChainLink("claim", "has a claim got it?", Reply.YES, f"{grant}, prepared for {_pods(grant)}")


def devices(seen: snapshot.Survey, pod: str) -> list[grants.GrantedDevice]:
    """Return the devices that a pod's claims have on this node."""
    return [device for pci, grant in seen.granted.items() if grant.is_for(pod)
            for device in grant.devices if device.id == pci]  # fmt: skip


def ids(seen: snapshot.Survey, pod: str) -> list[str]:
    return [each.id for each in devices(seen, pod)]


def _step(seen: snapshot.Survey, name: str, grant: grants.ClaimGrant | None) -> ChainLink:
    question = f"is claim {name} prepared?"
    if grant is not None:
        return ChainLink(
            "claim", question, Reply.YES, layout.some([_device(each) for each in grant.devices], chain.MOST)
        )
    if seen.grants_trouble:
        return ChainLink("claim", question, Reply.UNSEEN, seen.grants_trouble)
    others = next((each for each in seen.granted.values() if _name(each) == name), None)
    if others is not None:
        return ChainLink("claim", question, Reply.NO, f"it is prepared for {_pods(others)}, and a VF is in one pod",
                         "give each pod a claim of its own, as by a ResourceClaimTemplate")  # fmt: skip
    return ChainLink("claim", question, Reply.NO, "this node has no grant of it",
                     "`kubectl describe` shows whether it is allocated, and the pod's events why it is not prepared;"
                     " then the log of sriov-dra-driver")  # fmt: skip


def _device(one: grants.GrantedDevice) -> str:
    return f"{one.id} of {one.resource or one.pool} for request {one.request}"


def _name(grant: grants.ClaimGrant) -> str:
    return f"{grant.namespace}/{grant.name}"


def _pods(grant: grants.ClaimGrant) -> str:
    return layout.some([f"pod {grant.namespace}/{each.name}" for each in grant.pods], chain.MOST) or "no pod"
