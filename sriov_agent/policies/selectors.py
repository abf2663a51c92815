"""Label selectors (meta/v1, LabelSelector): read once, then asked for many objects. Pure."""

import enum
from collections.abc import Mapping

import msgspec

from sriov import errors
from sriov_agent.policies import objects


class Operator(enum.StrEnum):
    """`NotIn` and `DoesNotExist` take an object that lacks the key (apimachinery/pkg/labels/selector.go, Matches)."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    ABSENT = "DoesNotExist"


class Term(msgspec.Struct, frozen=True, order=True, gc=False):
    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def takes(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.ABSENT:
                return self.key not in labels


Selector = tuple[Term, ...]
"""All terms have to take the labels: none takes everything. Equal for selectors that say the same in another order."""


def read(told: objects.LabelSelector) -> Selector:
    """Raises SriovError for an operator that is none, or one without its values."""
    terms = [Term(key, Operator.IN, (value,)) for key, value in (told.match_labels or {}).items()]
    for each in told.match_expressions or ():
        terms.append(_term(each))
    return tuple(sorted(set(terms)))


def takes(selector: Selector, labels: Mapping[str, str]) -> bool:
    return all(term.takes(labels) for term in selector)


def _term(told: objects.Requirement) -> Term:
    values = tuple(sorted(set(told.values or ())))
    try:
        operator = Operator(told.operator)
    except ValueError:
        raise _wrong(told, f"{told.operator!r} is no operator of a selector") from None
    if (operator in {Operator.IN, Operator.NOT_IN}) != bool(values):
        raise _wrong(told, f"{operator} has {'no values' if not values else 'values'}")
    return Term(told.key, operator, values)


def _wrong(told: objects.Requirement, why: str) -> errors.SriovError:
    return errors.SriovError(f"selector for {told.key!r}: {why}", "write In, NotIn, Exists or DoesNotExist")
