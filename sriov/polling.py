"""Looking again and again at what comes in its own time, for as long as patience lasts. In a thread, never on a loop.

For what the kernel announces to nobody who is here: a driver's netdev, an address that a driver takes over, a device
of a namespace that dies. What is done again after a refusal is another matter (sriov.attachment.node, `insist`).
"""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_PAUSE = 0.02  # seconds between two looks


def until(look: Callable[[], _T], is_enough: Callable[[_T], bool], patience: float) -> _T:
    """Look until it is enough, for at most `patience` seconds; at least once. Returns what was seen last."""
    deadline = time.monotonic() + patience
    while not is_enough(seen := look()) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return seen
