"""doctor's findings as a table. Pure."""

from collections.abc import Sequence

from sriovctl import output
from sriovctl.views import documents

_HEADINGS = ("SEVERITY", "FINDING", "SUBJECT", "EVIDENCE", "REMEDY")  # a remedy may be a command, to be copied
_TONES = {"error": output.Tone.BAD, "warning": output.Tone.WARNING, "info": output.Tone.FAINT}


def table(listed: Sequence[documents.FindingsItem]) -> output.Table:
    columns = [output.Column(each, prose=each == "EVIDENCE") for each in _HEADINGS]
    return output.Table(columns if listed else (), [_cells(each) for each in listed])


def _cells(one: documents.FindingsItem) -> list[output.Cell]:
    severity = output.cell(one.severity, _TONES[one.severity])
    return [severity, *map(output.cell, (one.finding, one.subject, one.evidence, one.remedy))]
