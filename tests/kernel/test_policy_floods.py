"""Much of everything that root in a pod makes in its namespace: other pods' ADDs do not wait for it (root)."""

import ipaddress
import resource
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from sriov import errors
from sriov.cluster import pod_policies, policies
from sriov.linux import netns, nftables
from tests.kernel import policy_stage, test_policy_tampering
from tests.kernel.test_policy_tampering import OWN, PEER, TABLE

pytestmark = pytest.mark.root
MANY = 10_000
SET = "0123456789abcdef"
SOME = pod_policies.PodPolicy(
    (), (policies.Grant("x/some", (policies.Opening((SET,)),)),), {SET: frozenset({policies.packed("192.0.2.1")})}
)


class Pod(test_policy_tampering.Pod):
    """It may send to one address."""

    def look(self) -> None:
        self.enforcer.bring_all(lambda *_: SOME, look=True)


@pytest.fixture
def pod() -> Iterator[Pod]:
    with policy_stage.staged((OWN,), [PEER]) as stage:
        yield Pod(stage)


def fed(pod: Pod, lines: Iterator[str]) -> None:
    command = ["ip", "netns", "exec", pod.inside.name, "nft", "-f", "-"]
    subprocess.run(command, check=True, input="\n".join(lines), text=True)


def spent(work: Callable[[], object]) -> float:
    """Seconds of the CPU that it takes, as the machine may have others to serve."""
    before = time.thread_time()
    work()
    return time.thread_time() - before


def addresses() -> Iterator[str]:
    start = int(ipaddress.ip_address("10.0.0.0"))
    yield f"add element inet {TABLE} s4_{SET} {{ "
    yield from (f"{ipaddress.ip_address(start + number)}," for number in range(MANY))
    yield "10.255.0.1 }"


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("what", ["rules", "addresses"])
def test_what_a_pod_adds_to_our_table_is_not_read_and_gone(pod: Pod, what: str, restarted: bool) -> None:
    before = pod.rules()
    one = f"add rule inet {TABLE} egress ip daddr 192.0.2.9 accept"
    fed(pod, addresses() if what == "addresses" else (one for _ in range(MANY)))
    with netns.entered(pod.inside.handle):
        name = f"s4_{SET}"
        whole = spent(lambda: (nftables.rules(TABLE, 2 * MANY), nftables.elements(TABLE, name, 2 * MANY)))
    if restarted:
        pod.enforcer = pod.restarted()
    look = spent(pod.look)
    assert look < whole / 2, (look, whole)
    assert pod.rules() == before
    assert not pod.lets_out()


def test_an_element_for_every_address_is_found(pod: Pod) -> None:
    before = pod.rules()
    pod.does(f"nft add element inet {TABLE} s4_{SET} '{{ * }}'")
    pod.look()
    assert (pod.rules(), pod.enforcer.repaired) == (before, 1)


@pytest.mark.parametrize(
    ("kind", "most"),
    [("table inet own{}", 64), ("chain inet own c{}", 1 << 14), ("set inet own s{} {{ type mark; }}", 1 << 14)],
)
def test_so_much_that_it_cannot_be_changed_is_said_until_it_is_gone(pod: Pod, kind: str, most: int) -> None:
    """The library would read all of it first: 5,000 tables are 2.5 GB."""
    before, size = pod.rules(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fed(pod, iter(["add table inet own", *(f"add {kind.format(number)}" for number in range(most + 1))]))
    pod.look()
    assert pod.enforcer.problems() == [], "as long as nothing is to be changed"
    pod.does(f"nft delete table inet {TABLE}")
    with pytest.raises(errors.SriovError, match=f"nftables has more than {most} "):
        pod.look()
    assert "root in the pod has made them" in pod.enforcer.problems()[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size < 16 << 10
    pod.does("nft flush ruleset")
    pod.look()
    assert (pod.rules(), pod.enforcer.problems()) == (before, [])
