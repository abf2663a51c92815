"""Signals that end a daemon: SIGTERM before it can handle it, while it still imports, and faults.

In a container the daemon is process 1 of its namespace, to which the kernel delivers no signal without a handler
(pid_namespaces(7)): it would run on, and be killed when the grace period is over, two minutes later.
"""

import faulthandler
import os
import signal
import sys


def at_once() -> None:
    """Have SIGTERM end the process with status 0, until the daemon sets its own handler: it has done nothing yet."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def leave_a_trace() -> None:
    """Have a signal that means a fault (SIGSEGV, SIGBUS, SIGABRT, …) print the stacks of all threads to stderr."""
    if sys.stderr is not None:
        faulthandler.enable()
