"""Case of a pod, and one step of its chain of reasons, as `explain` shows it. Pure."""

import enum

import msgspec

from sriovctl.node import facts, pod_spec

MOST = 5
"""Of what is listed in one piece of evidence."""


class Reply(enum.Enum):
    """Answer of a step; the value is what is shown."""

    YES = "yes"
    NO = "no"
    UNSEEN = "cannot tell"


class ChainLink(msgspec.Struct, frozen=True):
    """One step of the chain. `name` is for scripts and never changes."""

    name: str
    question: str
    answer: Reply
    evidence: str
    remedy: str = ""


class Case(msgspec.Struct, frozen=True):
    """A pod (namespace/name), the resources in question, and its own specification if it was given."""

    found: facts.Facts
    pod: str
    resources: tuple[str, ...]
    spec: pod_spec.PodSpec | None = None
