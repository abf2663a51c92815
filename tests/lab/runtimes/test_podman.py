"""podman, which is not ours, starts containers on real VFs; it dies in the middle of a start, and the node is whole."""

import dataclasses
import subprocess

import pytest

from tests.lab.runtimes import benches, containers, podman

RED = benches.Network("red", "0000:01:10.0", "02:00:00:00:9d:01", "10.57.0.2")
BLUE = benches.Network("blue", "0000:01:10.2", "02:00:00:00:9d:02", "10.57.0.3")
DOOMED = benches.Network("doomed", RED.pci, "02:00:00:00:9d:03", "10.57.0.4", vlan=200)
HELD = dataclasses.replace(DOOMED, ipam="held")


def test_two_containers_see_their_vfs_and_one_another_and_leave_no_trace(
    bench: benches.Bench, engine: podman.Podman
) -> None:
    before = bench.left()
    red, blue = engine.run("red", RED), engine.run("blue", BLUE, peer=RED.address)
    assert (red.sees(), blue.sees()) == (containers.expected(RED), containers.expected(BLUE))
    assert "1 packets received" in blue.reaches()
    during = bench.left()
    assert during.records == {f"{RED.pci}.json", f"{BLUE.pci}.json"}
    assert during.leases - before.leases == {f"red/{RED.address}", f"blue/{BLUE.address}"}
    engine.remove("red", "blue")
    assert bench.left() == before


@pytest.mark.parametrize(
    ("network", "runtime"), [(HELD, "crun"), (DOOMED, "held")], ids=["while it attaches", "while it makes the process"]
)
def test_podman_and_its_children_are_killed(
    bench: benches.Bench, engine: podman.Podman, network: benches.Network, runtime: str
) -> None:
    """The VF is home and the address free once `podman rm` is through, and another container gets both clean."""
    before = bench.left()
    with bench.holding():
        _, starting = engine.start("doomed", network, runtime=runtime)
        bench.wait_held()
        benches.until(bench.records)
        bench.kill_processes()
        starting.communicate()
    engine.remove("doomed")
    benches.until(lambda: bench.left() == before)
    _red_runs(bench, engine, before)


def test_podman_alone_is_killed(bench: benches.Bench, engine: podman.Podman) -> None:
    """podman forgets the namespace it made, and never sends a DEL. Nobody heard of the ADD, so it is taken back."""
    before = bench.left()
    with bench.holding():
        _, starting = engine.start("doomed", HELD)
        bench.wait_held()
        benches.until(bench.records)
        starting.kill()
        starting.communicate()
    benches.until(lambda: bench.left() == before)
    engine.remove("doomed")
    for forgotten in benches.NAMESPACES.glob("netns-*"):
        subprocess.run(["ip", "netns", "delete", forgotten.name], check=True)
    _red_runs(bench, engine, before)


def _red_runs(bench: benches.Bench, engine: podman.Podman, after: benches.Left) -> None:
    assert engine.run("red", RED).sees() == containers.expected(RED)
    engine.remove("red")
    assert bench.left() == after
