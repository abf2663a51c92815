"""containerd, which is not ours, starts containers on real VFs; ctr dies in the middle of a start."""

from tests.lab.runtimes import benches, containerd, containers

RED = benches.Network("red", "0000:01:10.4", "02:00:00:00:9e:01", "10.57.1.2")
BLUE = benches.Network("blue", "0000:01:10.6", "02:00:00:00:9e:02", "10.57.1.3")
DOOMED = benches.Network("doomed", RED.pci, "02:00:00:00:9e:03", "10.57.1.4", vlan=200, ipam="held")


def test_two_containers_see_their_vfs_and_one_another_and_leave_no_trace(
    bench: benches.Bench, client: containerd.Containerd
) -> None:
    """ctr's DEL comes when the namespace is gone already."""
    before = bench.left()
    red, run_red = client.start("red", RED)
    assert red.sees() == containers.expected(RED)
    blue, run_blue = client.start("blue", BLUE, peer=RED.address)
    assert blue.sees() == containers.expected(BLUE)
    assert "1 packets received" in blue.reaches()
    for name, run in (("red", run_red), ("blue", run_blue)):
        client.end(name)
        run.communicate()
    assert bench.left() == before


def test_ctr_is_killed(bench: benches.Bench, client: containerd.Containerd) -> None:
    """No DEL ever comes. Nobody heard of the ADD, so it is taken back, and the next container gets the VF clean."""
    before = bench.left()
    with bench.holding():
        _, starting = client.start("doomed", DOOMED)
        bench.wait_held()
        benches.until(bench.records)
        starting.kill()
        starting.communicate()
    benches.until(lambda: bench.left() == before)
    client.remove("doomed")
    red, run = client.start("red", RED)
    assert red.sees() == containers.expected(RED)
    client.end("red")
    run.communicate()
    assert bench.left() == before
