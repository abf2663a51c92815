"""Asking many nodes at the same time, and telling how far it is if that takes long."""

import concurrent.futures
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from sriovctl.cluster import kubectl, merging, pods

_AT_ONCE = 16
_QUIET = 2.0  # seconds until progress is shown
_EVERY = 10.0  # seconds between two lines, if it is no terminal


def ask(client: kubectl.Kubectl, asked: Sequence[pods.NodePod], command: Sequence[str]) -> list[merging.Report]:
    """Run the command in each pod; returns the reports in the pods' order."""
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [pool.submit(_report, client, pod, command) for pod in asked]
        try:
            follow(running, sys.stderr, time.monotonic)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return [each.result() for each in running]


def _report(client: kubectl.Kubectl, pod: pods.NodePod, command: Sequence[str]) -> merging.Report:
    if pod.trouble:
        return merging.Report(pod.node, None, trouble=pod.trouble)
    return merging.report(pod.node, client.execute(pod, command))


def follow(
    running: Sequence[concurrent.futures.Future[merging.Report]], out: TextIO, clock: Callable[[], float]
) -> None:
    """Wait for all. After two seconds tell how many there are: in one line on a terminal, else every ten seconds."""
    shown = False
    for text in _progress(running, 0.2 if out.isatty() else _EVERY, clock):
        out.write(f"\r{text}" if out.isatty() else f"{text}\n")
        out.flush()
        shown = True
    if shown and out.isatty():
        out.write("\r\033[K")


def _progress(
    running: Sequence[concurrent.futures.Future[merging.Report]], every: float, clock: Callable[[], float]
) -> Iterator[str]:
    begun, pause = clock(), _QUIET
    while concurrent.futures.wait(running, timeout=pause).not_done:
        pause = every
        yield f"{sum(each.done() for each in running)} of {len(running)} nodes have answered, {clock() - begun:.0f} s"
