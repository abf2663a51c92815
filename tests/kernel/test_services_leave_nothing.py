"""1,000 pods come and go, and nothing of them is left: entries, programs, maps, links, routes, descriptors (root).

A hundred of them by ADD and DEL, several at a time; of the others, the part that is in the kernel's tables.
"""

import collections
import concurrent.futures
import contextlib
import os
import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest

from sriov.linux import netns
from sriov_cni.dataplane import services
from tests.kernel import mortal_stage, namespaces
from tests.sriov_cni.dataplane import bpf

pytestmark = pytest.mark.root
PODS, FULL, AT_ONCE = 1000, 100, 5


class Left(dict[str, object]):
    """What there is of a node's daemon and of its pods, by kind."""


def differences(one: Left, other: Left) -> dict[str, object]:
    return {what: (one[what], other[what]) for what in one if one[what] != other[what]}


def left(here: mortal_stage.Stage) -> Left:
    held = collections.Counter(_kind(path) for path in pathlib.Path(f"/proc/{here.daemon}/fd").iterdir())
    shown = {
        f"{what} {version}": subprocess.run(
            ["ip", "-n", here.node.name, f"-{version}", *what.split(), "show"], check=True, capture_output=True
        ).stdout
        for what in ("route", "rule", "neighbour")
        for version in (4, 6)
    }
    links = subprocess.run(["ip", "-n", here.node.name, "-br", "link"], check=True, capture_output=True, text=True)
    return Left(
        pins=sorted(path.name for path in (here.pins / services.LAYOUT).iterdir()),
        objects=_objects(here.daemon),
        held=held,
        links=sorted(line.split()[0].partition("@")[0] for line in links.stdout.splitlines()),
        records=here.records(),
        **shown,
    )


def at_rest(here: mortal_stage.Stage) -> Left:
    """What there is when nothing changes any more: the end of a call's connection, say, comes after its answer."""
    seen = [left(here)]

    def is_the_same() -> bool:
        seen.append(left(here))
        return seen[-1] == seen[-2]

    assert namespaces.until(is_the_same)
    return seen[-1]


def _kind(descriptor: pathlib.Path) -> str:
    """Of what it is open; files and sockets have a number each."""
    with contextlib.suppress(FileNotFoundError):
        return re.sub(r"\d+", "N", str(descriptor.readlink()))
    return "closed meanwhile"


def _objects(pid: int) -> list[str]:
    """Programs, maps and links that the daemon has, by the kernel's ids."""
    found = []
    for path in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += re.findall(r"^(?:map|prog|link)_id:\s+\d+$", path.read_text(), re.MULTILINE)
    return sorted(found)


@pytest.fixture
def here(tmp_path: pathlib.Path) -> Iterator[mortal_stage.Stage]:
    bpf.built()
    with contextlib.ExitStack() as stack:
        made = mortal_stage.Stage(tmp_path, stack, vfs=AT_ONCE + 1)
        without_link_locals(made)
        made.start()
        assert made.call("ADD", mortal_stage.STANDING, made.pod)
        made.tell(made.table(0))
        yield made


def without_link_locals(here: mortal_stage.Stage) -> None:
    """The ends of the stand-in switch get none, which the kernel would give each once it has seen it with a carrier."""
    with netns.open_path(f"/run/netns/{here.node.name}") as home, netns.entered(home):
        pathlib.Path("/proc/sys/net/ipv6/conf/all/addr_gen_mode").write_text("1")  # IN6_ADDR_GEN_MODE_NONE


@pytest.mark.slow
def test_a_thousand_pods_come_and_go_and_leave_nothing(here: mortal_stage.Stage) -> None:
    free = [vf for vf in here.vfs if vf != mortal_stage.STANDING]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as runtime:
        assert all(runtime.map(lambda vf: come_and_go(here, vf, 1), free)), "so that the daemon has all its threads"
        before = at_rest(here)
        assert all(runtime.map(lambda vf: come_and_go(here, vf, FULL // AT_ONCE), free))
    assert namespaces.until(lambda: left(here) == before), differences(left(here), before)
    here.stop()  # its repair would forget what has no record, now and then
    with bpf.translator(here.pins) as seen:
        for _ in range((PODS - FULL) // 100):
            with made(100) as cookies:
                for cookie in cookies:
                    seen.admit(cookie)
                assert {*cookies} <= seen.admitted()
    here.start()
    here.assert_whole(here.table(0))
    assert here.served_by() == 0


def come_and_go(here: mortal_stage.Stage, vf: str, times: int) -> bool:
    return all(comes_and_goes(here, vf) for _ in range(times))


def comes_and_goes(here: mortal_stage.Stage, vf: str) -> bool:
    with namespaces.made("pod") as pod:
        subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)
        added = here.call("ADD", vf, pod) and mortal_stage.is_translated(pod)
        return here.call("DEL", vf, pod) and added


@contextlib.contextmanager
def made(count: int) -> Iterator[list[int]]:
    """Namespaces; yields their cookies."""
    names = [f"sriov-many-{os.getpid()}-{number}" for number in range(count)]
    batch(f"netns add {name}" for name in names)
    try:
        with contextlib.ExitStack() as stack:
            yield [netns.cookie(stack.enter_context(netns.open_path(f"/run/netns/{name}"))) for name in names]
    finally:
        batch(f"netns del {name}" for name in names)


def batch(orders: Iterator[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(orders).encode(), check=True)
