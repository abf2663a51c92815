"""Rounds of ADDs of several kinds, each into a namespace that is new, as a pod's is, in an order by chance.

What an ADD and DEL leave to the kernel's RCU is the next one's to wait for. An ADD waits for it in steps of 4 ms, a
tick of the kernel's, and half of them may take a step more than the other half: so `more` is the median of the
differences of two ADDs of one round, and not the difference of two medians, which jumps by a step.
"""

import contextlib
import operator
import random
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from sriov.linux import netlink
from tests.kernel import namespaces

_AT_ONCE = 50  # rounds; a thousand namespaces would make each request slower
_Way = TypeVar("_Way")
_Answer = TypeVar("_Answer")


def taken(
    ways: Mapping[_Way, Callable[[namespaces.Namespace], _Answer]], rounds: int, warm: int
) -> dict[_Way, list[_Answer]]:
    """Call each way once a round; returns what they answered, after the `warm` rounds that come first."""
    chance = random.Random(rounds)  # noqa: S311 (the same order in each run)
    _some(ways, {way: [] for way in ways}, warm, chance)
    answers: dict[_Way, list[_Answer]] = {way: [] for way in ways}
    for begun in range(0, rounds, _AT_ONCE):
        _some(ways, answers, min(_AT_ONCE, rounds - begun), chance)
    return answers


def more(those: Iterable[float], than: Iterable[float]) -> float:
    """Return how much more those are, of the same rounds."""
    differences: list[float] = list(map(operator.sub, those, than))
    return statistics.median(differences)


def _some(
    ways: Mapping[_Way, Callable[[namespaces.Namespace], _Answer]],
    answers: dict[_Way, list[_Answer]],
    rounds: int,
    chance: random.Random,
) -> None:
    """No namespace ends meanwhile: the kernel takes them apart in the background, under the lock that all need."""
    with contextlib.closing(netlink.Netlink()) as net:
        with contextlib.ExitStack() as pods:
            for _ in range(rounds):
                for way in chance.sample(list(ways), len(ways)):
                    pod = pods.enter_context(namespaces.made("fresh"))
                    answers[way].append(ways[way](pod))
            last = net.mark(pod.handle)
        namespaces.until(lambda: last is None or net.is_gone(last))
