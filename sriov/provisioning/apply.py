"""Application of a plan: its steps in order; if one fails, the node is put back as it was, and the step is named.

Right before each step the VFs that it would touch are checked again, since a pod may have been given one meanwhile.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from sriov import devices, errors
from sriov.provisioning import steps


class Hands(Protocol):
    """Carries out a step: machine.Machine."""

    def do(self, step: steps.ProvisioningStep) -> None: ...

    def in_the_way(self, step: steps.ProvisioningStep) -> tuple[devices.PciAddress, str] | None: ...


class ProvisionError(errors.SriovError):
    """A step failed; the message has the step, the reason, and what became of the steps before."""


def apply(
    hands: Hands,
    planned: Sequence[steps.ProvisioningStep],
    tell: Callable[[steps.ProvisioningStep], None] = lambda _: None,
) -> None:
    """Carry out the steps; `tell` is called with each before it is done. Raises ProvisionError."""
    begun: list[steps.ProvisioningStep] = []
    number = 0
    try:
        for number, step in enumerate(planned):  # noqa: B007
            tell(step)
            _refuse_used(hands, step)
            begun.append(step)
            hands.do(step)
    except errors.SriovError as error:
        raise _failure(planned, number, error, _taken_back(hands, begun)) from error
    except KeyboardInterrupt:
        _taken_back(hands, begun)
        raise


def _refuse_used(hands: Hands, step: steps.ProvisioningStep) -> None:
    if found := hands.in_the_way(step):
        pci, user = found
        raise errors.BusyError(f"VF {pci} is in use by {user}", "it was not touched; plan again")


def _taken_back(hands: Hands, begun: Sequence[steps.ProvisioningStep]) -> list[str]:
    """Undo from the last step, also the failed one, which may be half done. Returns what could not be undone."""
    left = []
    for step in (each for done in reversed(begun) for each in steps.back(done)):
        try:
            _refuse_used(hands, step)
            hands.do(step)
        except errors.SriovError as error:
            left.append(f"{step}: {error}")
    return left


def _failure(
    planned: Sequence[steps.ProvisioningStep], number: int, error: errors.SriovError, left: Sequence[str]
) -> ProvisionError:
    after = "everything is as it was before" if not left else f"and this could not be put back: {' | '.join(left)}"
    which = f"step {number + 1} of {len(planned)} failed, to {planned[number]}"
    return ProvisionError(f"{which}: {error.message}; {after}", error.remedy)
