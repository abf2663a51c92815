"""Ending a daemon: one that is asked to before it could listen to that, since at first it imports what it needs; and
one that crashes.

In a container it is process 1 of its namespace, to which the kernel delivers no signal that has no handler
(pid_namespaces(7)): it would go on, and be killed when the grace period is over, two minutes later.
"""

import faulthandler
import os
import signal
import sys


def at_once() -> None:
    """SIGTERM ends the process with status 0, until the daemon says what else it is to do: nothing is under way yet."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def leave_a_trace() -> None:
    """A signal that means a fault (SIGSEGV, SIGBUS, SIGABRT, …) puts the stacks of all threads on stderr first."""
    if sys.stderr is not None:
        faulthandler.enable()
