"""Preferred devices of a container: rules that hold for each policy, and the purpose of each."""

import hypothesis
import pytest
from hypothesis import strategies

from sriov.pools import assignment, preferences, resources
from tests.sriov.pools import facts

PFS = ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0")


def device(pf: int, index: int) -> assignment.Device:
    """VF `index` of a PF; the first two PFs are below one bridge and on NUMA node 0."""
    bridges = ("pci0000:00", "0000:00:01.0" if pf < 2 else "0000:00:02.0")
    numa_node = 0 if pf < 2 else 1
    one = facts.vf(index, PFS[pf], id=f"{pf}.{index}", bridges=bridges, numa_node=numa_node)
    return assignment.Device(one.id, one)


EVERY = tuple(device(pf, index) for pf in range(3) for index in range(4))
IDS = [each.id for each in EVERY]


def preferred(policy: str, available: list[str], must: list[str], size: int) -> tuple[str, ...]:
    settings = resources.Resource("intel.com", "a", policy=resources.AllocationPolicy(policy))
    return preferences.preferred(assignment.Pool(settings, EVERY), available, must, size)


@hypothesis.given(
    strategies.sampled_from([policy.value for policy in resources.AllocationPolicy]),
    strategies.sets(strategies.sampled_from([*IDS, "unknown"])),
    strategies.integers(0, 14),
    strategies.randoms(use_true_random=False),
    strategies.data(),
)
def test_d40_what_every_answer_is(
    policy: str, available: set[str], size: int, order: object, data: strategies.DataObject
) -> None:
    """Available, with all that must be, as many as asked for where there are so many, and the same in any order."""
    ordered = sorted(available)
    must = data.draw(strategies.lists(strategies.sampled_from(ordered), unique=True)) if ordered else []
    answer = preferred(policy, ordered, must, size)
    assert set(must) <= set(answer) <= available
    assert len(set(answer)) == len(answer)
    assert len(answer) == max(len(must), min(size, len(available)))
    shuffled = list(ordered)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert preferred(policy, shuffled, must, size) == answer


@pytest.mark.parametrize(
    ("policy", "available", "must", "size", "answer"),
    [
        ("spread", IDS, [], 3, ("0.0", "1.0", "2.0")),
        ("spread", IDS, ["0.3"], 2, ("0.3", "1.0")),
        ("spread", ["0.1", "1.0", "1.1", "2.3"], [], 1, ("1.0",)),
        ("packed", IDS, [], 3, ("0.0", "0.1", "0.2")),
        ("packed", ["0.0", "0.1", "1.0", "2.1", "2.2"], [], 1, ("1.0",)),
        ("packed", ["0.0", "0.1", "0.2", "1.0", "2.1", "2.2"], [], 2, ("2.1", "2.2")),
        ("packed", ["0.0", "1.0", "1.1"], [], 3, ("1.0", "1.1", "0.0")),
        ("packed", IDS, ["2.0"], 2, ("2.0", "2.1")),
        ("numa", IDS, ["2.3"], 3, ("2.3", "2.0", "2.1")),
        ("numa", ["0.0", "1.0", "2.0", "2.1"], [], 2, ("0.0", "1.0")),
        ("pcie", IDS, ["1.3"], 2, ("1.3", "1.0")),
        ("pcie", ["0.0", "1.3", "2.0"], ["1.3"], 2, ("1.3", "0.0")),
        ("pcie", ["0.0", "1.0", "2.0", "2.1"], [], 2, ("2.0", "2.1")),
    ],
)
def test_what_a_policy_is_for(
    policy: str, available: list[str], must: list[str], size: int, answer: tuple[str, ...]
) -> None:
    """Spread: over PFs, the least used first. Packed: PFs that are in use, and whole. Others: near to one another."""
    assert preferred(policy, available, must, size) == answer
