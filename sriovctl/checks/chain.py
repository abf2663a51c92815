"""One step of a chain of reasons, as `explain` shows it. Pure."""

import enum

import msgspec


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
