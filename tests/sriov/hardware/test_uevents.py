"""Uevents: how they are read, and that this kernel's arrive."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

from sriov import devices
from sriov.hardware import uevents

PCI = devices.PciAddress("0000:01:10.0")


@pytest.mark.parametrize(
    ("subsystem", "path", "event"),
    [
        ("pci", "/devices/pci0000:00/0000:00:02.0/0000:01:10.0", uevents.Event("add", "pci", PCI, "0000:01:10.0")),
        (
            "net",
            "/devices/pci0000:00/0000:00:02.0/0000:01:10.0/net/enp1s0v0",
            uevents.Event("add", "net", PCI, "enp1s0v0"),
        ),
        ("net", "/devices/virtual/net/veth0", uevents.Event("add", "net", None, "veth0")),
    ],
)
def test_an_event_names_its_device(subsystem: str, path: str, event: uevents.Event) -> None:
    assert uevents.parse({"ACTION": "add", "SUBSYSTEM": subsystem, "DEVPATH": path}) == event


def test_an_event_without_variables_is_no_error() -> None:
    assert uevents.parse({}) == uevents.Event("", "", None, "")


@pytest.fixture
def veth() -> Iterator[str]:
    """A name for a veth end that is gone afterwards."""
    name = f"ue{os.getpid()}"
    yield name
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def add(name: str) -> None:
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", f"{name}p"], check=True)


def remove(name: str) -> None:
    subprocess.run(["ip", "link", "del", name], check=True)


@pytest.mark.root
def test_the_kernels_events_arrive_without_udevd(veth: str) -> None:
    async def body() -> list[uevents.Event]:
        monitor = uevents.Monitor()
        add(veth)
        remove(veth)
        heard: list[uevents.Event] = []
        async with contextlib.aclosing(uevents.watch(monitor)) as events:
            async for event in events:
                heard += [event] if event.name == veth else []
                if len(heard) == 2:
                    return heard
        raise AssertionError("watch ended")

    heard = asyncio.run(asyncio.wait_for(body(), 5))
    assert heard == [uevents.Event("add", "net", None, veth), uevents.Event("remove", "net", None, veth)]


@pytest.mark.root
def test_nothing_is_received_when_nothing_happened_or_somewhere_else(veth: str) -> None:
    """Queues of netdevs are a subsystem of their own, which is not ours."""
    monitor = uevents.Monitor()
    assert monitor.receive() is None
    add(veth)
    heard = []
    while (event := monitor.receive()) is not None:
        heard.append(event)
    assert {event.subsystem for event in heard} == {"net"}
    assert veth in {event.name for event in heard}


@pytest.mark.root
def test_lost_events_are_told(veth: str) -> None:
    """A buffer for two or three events overflows; then the queue goes on, and what it says is true."""
    monitor = uevents.Monitor(buffer=2048)
    for _ in range(8):
        add(veth)
        remove(veth)
    heard = []
    while (event := monitor.receive()) is not None:
        heard.append(event)
    assert uevents.RESCAN in heard
    add(veth)
    assert monitor.receive() is not None


@pytest.mark.root
def test_waiting_can_be_cancelled_and_begun_again(veth: str) -> None:
    async def body() -> uevents.Event:
        monitor = uevents.Monitor()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(uevents.watch(monitor)), 0.05)
        add(veth)
        return await asyncio.wait_for(anext(uevents.watch(monitor)), 5)

    assert asyncio.run(body()).action == "add"
