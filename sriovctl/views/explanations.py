"""The steps of `explain` as a table, and what they come to. Pure, except for printing the conclusion."""

from sriovctl import output
from sriovctl.views import documents

_TONES = {"yes": output.Tone.GOOD, "no": output.Tone.BAD, "cannot tell": output.Tone.WARNING}


def table(document: documents.ExplanationDocument) -> output.Table:
    columns = [output.Column(each, prose=each != "ANSWER") for each in ("QUESTION", "ANSWER", "EVIDENCE")]
    rows = [
        [output.cell(each.question), output.cell(each.answer, _TONES[each.answer]), output.cell(each.evidence)]
        for each in document.items
    ]
    return output.Table(columns, rows)


def conclude(document: documents.ExplanationDocument) -> None:
    """Print the reason and its remedy; or that nothing is wrong, if everything was seen."""
    about = document.about
    reason = next((each for each in document.items if each.answer == "no"), None)
    if reason is not None:
        output.say(f"\n{about}: {reason.evidence}", output.Tone.BAD)
        output.say(f"remedy: {reason.remedy}" if reason.remedy else "")
    elif document.unseen:
        listed = ", ".join(dict.fromkeys(each.partition(":")[0] for each in document.unseen))
        output.say(f"\n{about}: no fault was found, but this cannot be told from here: {listed}", output.Tone.WARNING)
    else:
        output.say(f"\n{about}: nothing is wrong", output.Tone.GOOD)
