"""Preferred allocation: the best of the free devices for a container. Pure and deterministic.

The kubelet asks before it allocates, and takes the answer as advice among the devices of the NUMA nodes it has chosen
(pkg/kubelet/cm/devicemanager/manager.go, callGetPreferredAllocationIfAvailable).
"""

import collections
from collections.abc import Callable, Collection, Iterable, Sequence

from sriov.hardware import pci
from sriov.pools import assignment, resources

_Place = tuple[str, ...]


def preferred(pool: assignment.Pool, available: Collection[str], must: Sequence[str], size: int) -> tuple[str, ...]:
    """Return `size` different IDs of the available ones, including all of `must`; fewer if there are not enough."""
    chosen = list(dict.fromkeys(must))
    free = _ordered(pool, set(available) - set(chosen))
    pick = _PICKS[pool.settings.policy](pool, free)
    while len(chosen) < size and free:
        best = pick(chosen, free, size - len(chosen))
        chosen.append(best)
        free.remove(best)
    return tuple(chosen)


_Pick = Callable[[list[str], list[str], int], str]


def _ordered(pool: assignment.Pool, ids: set[str]) -> list[str]:
    """Sort the IDs as the pool lists them, with unknown ones last."""
    known = [device.id for device in pool.devices if device.id in ids]
    return known + sorted(ids.difference(known))


def _spread(pool: assignment.Pool, free: list[str]) -> _Pick:
    """Pick from the PF with the fewest of this container's devices, then the one with the fewest in use."""
    pf_of = _pfs(pool)
    used = _count(pf_of, (device.id for device in pool.devices if device.id not in set(free)))

    def pick(chosen: list[str], rest: list[str], _need: int) -> str:
        here = _count(pf_of, chosen)
        return min(rest, key=lambda one: (here[pf_of.get(one, "")], used[pf_of.get(one, "")]))

    return pick


def _packed(pool: assignment.Pool, free: list[str]) -> _Pick:
    """Pick from a PF that the container already has, then from the one with the fewest left that has enough."""
    pf_of = _pfs(pool)
    left = _count(pf_of, free)

    def pick(chosen: list[str], rest: list[str], need: int) -> str:
        here = _count(pf_of, chosen)

        def rank(one: str) -> tuple[int, bool, int]:
            pf = pf_of.get(one, "")
            enough = left[pf] >= need
            return (-here[pf], not enough, left[pf] if enough else -left[pf])

        return min(rest, key=rank)

    return pick


def _close(place_of: Callable[[assignment.Device], _Place]) -> Callable[[assignment.Pool, list[str]], _Pick]:
    """Pick devices whose path to the root has the most in common with those that the container has."""

    def picker(pool: assignment.Pool, _free: list[str]) -> _Pick:
        places = {device.id: place_of(device) for device in pool.devices}

        def pick(chosen: list[str], rest: list[str], need: int) -> str:
            if not chosen:
                return _seed(places, rest, need)
            return max(rest, key=lambda one: _nearness(places.get(one, ()), [places.get(two, ()) for two in chosen]))

        return pick

    return picker


def _seed(places: dict[str, _Place], rest: list[str], need: int) -> str:
    """Return the first device below the deepest point of the tree that has enough devices."""
    below = collections.Counter(prefix for one in rest for prefix in _prefixes(places.get(one, ())))

    def depth(one: str) -> int:
        return max((len(way) for way in _prefixes(places.get(one, ())) if below[way] >= need), default=0)

    return max(rest, key=depth)


def _prefixes(place: _Place) -> list[_Place]:
    return [place[:length] for length in range(len(place) + 1)]


def _nearness(place: _Place, others: Iterable[_Place]) -> tuple[int, int]:
    """Return the nearness to the nearest of the others, then to all of them together."""
    shared = [len(pci.shared(place, other)) for other in others]
    return max(shared), sum(shared)


def _pfs(pool: assignment.Pool) -> dict[str, str]:
    return {device.id: device.facts.pf or device.facts.pci for device in pool.devices}


def _count(pf_of: dict[str, str], ids: Iterable[str]) -> collections.Counter[str]:
    return collections.Counter(pf_of.get(one, "") for one in ids)


def _way(device: assignment.Device) -> _Place:
    return (*device.facts.bridges, device.facts.pf or device.facts.pci)


def _numa(device: assignment.Device) -> _Place:
    return () if device.facts.numa_node is None else (str(device.facts.numa_node),)


_PICKS: dict[resources.AllocationPolicy, Callable[[assignment.Pool, list[str]], _Pick]] = {
    resources.AllocationPolicy.SPREAD: _spread,
    resources.AllocationPolicy.PACKED: _packed,
    resources.AllocationPolicy.NUMA: _close(_numa),
    resources.AllocationPolicy.PCIE: _close(_way),
}
