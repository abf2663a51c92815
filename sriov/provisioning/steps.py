"""Steps of a provisioning plan, each with its way back. Values; `machine` carries them out.

A step names the state that a thing is to have, and not a change to it, so that a step that was half done may be done
again or taken back.
"""

import enum
from typing import Any

import msgspec

from sriov import devices, settings
from sriov.provisioning import model


class Act(enum.Enum):
    """Setting that a step changes; the value is for people and for programs."""

    NUMVFS = "numVfs"
    ESWITCH = "eswitchMode"
    UP = "up"
    MTU = "mtu"
    AUTOPROBE = "autoprobe"
    ADDRESS = "address"
    MAC = "mac"
    SPOOFCHK = "spoofchk"
    TRUST = "trust"
    DRIVER = "driver"
    DEFAULTS = "defaults"


class ProvisioningStep(msgspec.Struct, frozen=True):
    """`vf` is the index of the PF's VF, None for the PF itself: a VF need not exist while this is planned.

    `before` is None if there is nothing to go back to, as with a VF that the plan itself makes. `restore` are more
    steps of the way back, since the VFs that it makes are new ones.
    """

    act: Act
    pf: devices.PciAddress
    label: str
    vf: int | None
    before: Any
    after: Any
    restore: tuple["ProvisioningStep", ...] = ()

    @property
    def removes(self) -> bool:
        """Whether the step removes all VFs of the PF."""
        return self.act is Act.NUMVFS and self.after == 0

    @property
    def touches(self) -> bool:
        """Whether a user of the VF would notice: declared defaults count only from the next ADD or DEL on."""
        return self.act is not Act.DEFAULTS and (self.vf is not None or self.removes)

    def __str__(self) -> str:
        return f"set {self.act.value} of {self.label} to {said(self.after)}"


def back(step: ProvisioningStep) -> tuple[ProvisioningStep, ...]:
    """Return the steps that undo it."""
    if step.before is None:
        return ()
    return (msgspec.structs.replace(step, before=step.after, after=step.before, restore=()), *step.restore)


def said(value: object) -> str:
    """Return a step's value in the file's words."""
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case devices.EswitchMode():
            return value.value
        case settings.Switches():
            named = {key: each for key, each in msgspec.to_builtins(value).items() if each is not None}
            return ", ".join(f"{key} {said(each)}" for key, each in named.items()) or "none"
        case model.Binding() | _:
            return str(value)
