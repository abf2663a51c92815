"""A provisioning plan as a table and as a document. Pure.

People get one line for neighbouring VFs with the same setting, programs every step.
"""

import itertools
from collections.abc import Sequence

import msgspec

from sriov.provisioning import plan, steps
from sriovctl import output
from sriovctl.views import documents

_COLUMNS = (output.Column("DEVICE"), output.Column("SETTING"), output.Column("NOW", leaves=1), output.Column("THEN"))


def table(planned: Sequence[steps.ProvisioningStep]) -> output.Table:
    """Return a table of the steps in their order."""
    return output.Table(_COLUMNS, [_row(group) for group in _groups(planned)])


def document(made: plan.Plan, *, applied: bool) -> documents.ProvisionPlanDocument:
    """Return the document for programs."""
    items = [
        documents.ProvisionPlanItem(
            pf=step.pf,
            vf=step.vf,
            device=step.label,
            setting=step.act.value,
            now=None if step.before is None else steps.said(step.before),
            then=steps.said(step.after),
        )
        for step in made.steps
    ]
    return documents.ProvisionPlanDocument(list(made.notes), list(made.refusals), applied, items)


def _groups(planned: Sequence[steps.ProvisioningStep]) -> list[list[steps.ProvisioningStep]]:
    """Group neighbours in the plan that set the same, on VFs with consecutive indices."""
    groups: list[list[steps.ProvisioningStep]] = []
    for step in planned:
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and last.vf is not None
            and msgspec.structs.replace(step, vf=last.vf + 1, label="", before=None, after=None, restore=())
            == msgspec.structs.replace(last, vf=step.vf, label="", before=None, after=None, restore=())
        ):
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def _row(group: Sequence[steps.ProvisioningStep]) -> list[output.Cell]:
    first, last = group[0], group[-1]
    device = first.label if first is last else f"{first.label}-{last.vf}"
    now, then = (_values([steps.said(value) for value in column]) for column in _columns(group))
    return [output.cell(device), output.cell(first.act.value), output.cell(now), output.cell(then)]


def _columns(group: Sequence[steps.ProvisioningStep]) -> tuple[list[object], list[object]]:
    return [step.before for step in group], [step.after for step in group]


def _values(texts: Sequence[str]) -> str:
    """Return the value if all are the same, else the first and the last."""
    different = [text for text, _ in itertools.groupby(texts)]
    return different[0] if len(different) == 1 else f"{different[0]} … {different[-1]}"
