"""Ending a daemon that is asked to before it could listen to that: in the first half second it imports what it needs.

In a container it is process 1 of its namespace, to which the kernel delivers no signal that has no handler
(pid_namespaces(7)): it would go on, and be killed when the grace period is over, two minutes later.
"""

import os
import signal


def at_once() -> None:
    """SIGTERM ends the process with status 0, until the daemon says what else it is to do: nothing is under way yet."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
