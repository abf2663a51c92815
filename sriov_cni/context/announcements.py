"""Announcements of a pod's addresses after its ADD has been answered: a short task of the daemon.

The task keeps a socket in the pod's namespace, and so the namespace, for a second, or four without a carrier; if the
pod dies in that time, its VF comes back that much later.
"""

import asyncio
import logging
from collections.abc import Callable

from sriov.attachment import announcing

log = logging.getLogger(__name__)
_PATIENCE = 3.0  # seconds for a carrier
_POLL = 0.02
_PAUSES = (0.0, 0.2, 0.6)  # seconds before each of the announcements


async def announce(announcer: announcing.Announcer, mark: Callable[[], int] = int) -> None:
    """Wait for the carrier, announce three times, close. Failures are only logged.

    `mark` is asked each time what lets it pass the pod's rules; 0 is none.
    """
    try:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while not announcer.is_ready() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL)
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            announcer.send(mark())
    except OSError as error:
        log.info("not announced: %s", error)
    finally:
        announcer.close()
