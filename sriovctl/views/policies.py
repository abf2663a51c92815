"""Table of what may pass to and from a pod, and whether the kernel has that. Pure, except for printing the latter."""

from sriov import layout
from sriovctl import output
from sriovctl.views import documents

_MOST = 4  # peers in a cell; documents have all
_PASSES = {
    True: output.cell("yes", output.Tone.GOOD),
    False: output.cell("no", output.Tone.BAD),
    None: output.cell("cannot tell", output.Tone.WARNING),
}


def table(document: documents.PodPolicyDocument) -> output.Table:
    headings = ("INTERFACE", "DIRECTION", "PEER", "PORT", "PASSES", "BY")
    columns = [output.Column(each, prose=each in ("PEER", "PORT", "BY")) for each in headings]
    return output.Table(columns, [_cells(each) for each in document.items])


def _cells(one: documents.PodPolicyItem) -> list[output.Cell]:
    return [
        output.cell(one.interface),
        output.cell(one.direction),
        output.cell(_peers(one)),
        output.cell("all" if one.ports is None else layout.some(one.ports, _MOST) or "none"),
        _PASSES[one.passes],
        output.cell(_by(one)),
    ]


def _peers(one: documents.PodPolicyItem) -> str:
    if one.peers is not None:
        return layout.some(one.peers, _MOST) or "nobody yet"
    return "all others" if one.reason == "isolated" else "all"


def _by(one: documents.PodPolicyItem) -> str:
    match one.reason:
        case "policy":
            return ", ".join(one.policies)
        case "isolated":
            return f"none of {', '.join(one.policies)}" if one.policies else "closed, whatever its policies are"
        case "node":
            return "the node, by the host link"
        case "unselected":
            return f"no policy selects it for {one.direction}"
        case "off":
            return "its network has no `policy`"
        case _:
            return "its policies are not known"


def conclude(document: documents.PodPolicyDocument, remedy: str) -> None:
    """Print whether the kernel agrees, for each interface that is held to policies."""
    told = {True: ("in force", output.Tone.GOOD), False: ("not in force", output.Tone.BAD)}
    unknown = ("cannot tell whether it is in force", output.Tone.WARNING)
    for number, each in enumerate(document.interfaces):
        text, tone = unknown if each.in_force is None else told[each.in_force]
        start = "" if number else "\n"
        output.say(f"{start}{each.interface}: {text}: {each.evidence}", tone)
        if each.in_force is False:
            output.say(f"remedy: {remedy}")
