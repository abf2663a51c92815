"""Plan of a measurement in a cluster: what two pods will do, for how long, and how much they send at most. Pure."""

import re
from collections.abc import Iterator

import msgspec

from sriovctl.traffic import tools

PACED = 20_000
"""Small packets a second, to see what each costs; a tenth of what one processor sends."""
WAYS = {"vf": "VF", "cluster": "cluster's network"}

_UNITS = {"M": 10**6, "G": 10**9}
_SMALL_FRAME = 84  # bytes of the wire
_MOST_ROUND_TRIPS = 200_000  # a second; no kernel and no card answers faster than in 5 µs
_HEADERS = 1.1  # of a large packet, with acknowledgements: no more than a tenth is added
_A_CONNECTION = 1000  # bytes, at most
_BEYOND = 2  # seconds that a measurement takes beside its own
_START = 300  # seconds that the pods may take to start, at most


class TrafficPlan(msgspec.Struct, frozen=True):
    """Two pods in a namespace, from one node to another, with an interface in `network`, a VF of `resource`."""

    namespace: str
    network: str
    resource: str
    nodes: tuple[str, str]
    image: str
    load: tools.Load
    rounds: int
    mark: str

    @property
    def pods(self) -> tuple[str, str]:
        return (f"sriov-traffic-{self.mark}-sender", f"sriov-traffic-{self.mark}-receiver")

    @property
    def seconds(self) -> int:
        """Return how long all measurements take, about."""
        return self.rounds * len(WAYS) * len(tools.EVERY) * (self.load.seconds + _BEYOND)

    @property
    def deadline(self) -> int:
        """Return the seconds after which the kubelet ends the pods if nobody has deleted them."""
        return 3 * self.seconds + _START

    def most(self) -> int:
        """Return the bytes that are sent at most, on each way."""
        load = self.load
        floods = 3 * load.at_most / 8 * _HEADERS  # TCP, large packets, small packets
        small = (load.packets + 2 * _MOST_ROUND_TRIPS) * _SMALL_FRAME
        return int(self.rounds * (load.seconds * (floods + small) + tools.CONNECTIONS * _A_CONNECTION))


def lines(plan: TrafficPlan) -> Iterator[str]:
    """Yield what will be done, for who has to agree."""
    (sender, receiver), load, most = plan.pods, plan.load, _amount(plan.most())
    yield f"Two pods in namespace {plan.namespace}, with a VF each ({plan.resource}), from image {plan.image}:"
    yield f"  {sender} on node {plan.nodes[0]}, {receiver} on node {plan.nodes[1]}"
    yield f"{plan.rounds} rounds, over network {plan.network} and over the cluster's in turns, {load.seconds} s each:"
    yield from (f"  {each.about} ({each.command('', load)[0]})" for each in tools.EVERY)
    yield f"This takes {_duration(plan.seconds)}, and sends at most {most} over each of the two networks,"
    yield f"at up to {_rate(load.at_most)}: others who use the nodes' links will notice."
    yield f"Then the pods are deleted. If that fails, they end by themselves {plan.deadline} s after their start."


def rate(text: str) -> int:
    """Parse bits a second, as 500M or 10G. Raises ValueError with the reason."""
    found = re.fullmatch(r"(\d{1,4})([MG])", text)
    if found is None or not int(found[1]):
        raise ValueError(f"{text!r} is no rate; write bits a second as 500M or 10G")
    return int(found[1]) * _UNITS[found[2]]


def _rate(bits: int) -> str:
    return f"{bits / 1e9:g} Gbit/s"


def _amount(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def _duration(seconds: int) -> str:
    return f"about {seconds} s" if seconds < 120 else f"about {round(seconds / 60)} minutes"
