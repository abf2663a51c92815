from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from hack.guest import jobs, machine, nics
from hack.guest.downloads import parts

PARTS = parts.Parts(Path("/cache/root"), "6.12.1-amd64")


def built(**changes: object) -> list[str]:
    facts: dict[str, object] = {
        "memory": "2G", "cpus": 2, "accelerated": False,
        "initrd": Path("/tmp/initrd"), "console": Path("/tmp/console"), "out": None,
    }  # fmt: skip
    made = machine.Machine(**{**facts, **changes})  # type: ignore[arg-type]
    return machine.arguments(PARTS, made, machine.Ports(control=7, output=9, monitor=11, orders=13))


def test_both_cards_are_on_one_switch_and_each_behind_its_own_root_port() -> None:
    assert nics.arguments() == [
        "-netdev", "hubport,id=h0,hubid=0",
        "-device", "pcie-root-port,slot=0,id=rp0",
        "-device", "igb,bus=rp0,id=igb0,netdev=h0,mac=52:54:00:00:00:01",
        "-netdev", "hubport,id=h1,hubid=0",
        "-device", "pcie-root-port,slot=1,id=rp1",
        "-device", "igb,bus=rp1,id=igb1,netdev=h1,mac=52:54:00:00:00:02",
    ]  # fmt: skip


def test_the_far_slot_is_empty_and_comes_after_the_cards_whose_addresses_tests_know() -> None:
    assert nics.far_slot() == [
        "-device", "pxb-pcie,id=far,bus=pcie.0,bus_nr=128,numa_node=1",
        "-netdev", "hubport,id=h2,hubid=0",
        "-device", "pcie-root-port,slot=2,id=rp2,bus=far",
    ]  # fmt: skip
    after = [*nics.far_slot(), *nics.spare_slots()]
    assert built()[-len(after) :] == after


def test_spare_slots_have_the_numbers_of_their_cards() -> None:
    ports = [word.split(",")[1:] for word in nics.spare_slots() if word.startswith("pcie-root-port")]
    assert ports == [[f"slot={number}", f"id={nics.device(number)['bus']}", "bus=far"] for number in nics.SPARE]


@pytest.mark.parametrize(
    ("cpus", "near", "far"), [(1, ",cpus=0-0", ""), (2, ",cpus=0-0", ",cpus=1"), (4, ",cpus=0-2", ",cpus=3")]
)
def test_there_is_a_second_numa_node_with_one_cpu_and_no_memory(cpus: int, near: str, far: str) -> None:
    assert [value for option, value in pairwise(built(cpus=cpus)) if option in ("-numa", "-object")] == [
        "memory-backend-ram,id=near,size=2G",
        f"node,nodeid=0,memdev=near{near}",
        f"node,nodeid=1{far}",
    ]


def test_qemu_runs_through_the_linker_it_came_with() -> None:
    assert built()[:4] == [
        "/cache/root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "--library-path",
        "/cache/root/lib/x86_64-linux-gnu:/cache/root/usr/lib/x86_64-linux-gnu",
        "/cache/root/usr/bin/qemu-system-x86_64",
    ]


def test_the_machines_root_is_shared_read_only_and_a_comma_in_a_path_is_no_option() -> None:
    shares = [value for option, value in pairwise(built(out=Path("/tmp/a,b"))) if option == "-fsdev"]
    assert shares == [
        "local,id=root,path=/,security_model=none,multidevs=remap,readonly=on",
        "local,id=out,path=/tmp/a,,b,security_model=none,multidevs=remap",
    ]


def test_a_card_to_the_outside_is_there_only_if_it_is_asked_for_and_moves_no_other_card() -> None:
    without, card = built(), nics.outside()
    assert card[-1].endswith(",romfile=")  # without a ROM, which is in a package of its own
    assert built(network=True) == [*without, *card]


def test_qemus_monitor_is_the_other_end_of_the_port_that_the_guest_writes_orders_to() -> None:
    assert ("-mon", "chardev=monitor,mode=control") in pairwise(built())
    assert {"socket,id=monitor,fd=11", "socket,id=orders,fd=13"} < {*built()}
    assert "virtserialport,bus=ports.0,chardev=orders,nr=3" in built()


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu vmx sse", True),
        ("flags\t\t: fpu svm", True),
        ("flags\t\t: fpu vmmcall sse", False),
        ("model name\t: vmx\nflags\t\t: fpu", False),
        ("", False),
    ],
)
def test_hardware_virtualisation_is_taken_from_the_cpu_flags(cpuinfo: str, expected: bool) -> None:
    assert machine.accelerated(cpuinfo) is expected


def test_acceleration_is_used_only_where_it_is_there() -> None:
    assert ("-accel", "tcg,thread=single") in pairwise(built())
    assert ("-accel", "kvm") in pairwise(built(accelerated=True))


def test_the_commands_words_and_environment_reach_the_shell_as_they_are() -> None:
    job = jobs.Job(["echo", "a b", "$HOME"], Path("/a dir"), {"TERM": "x y"}, Path("/out"))
    assert jobs.script(job) == (
        "cd '/a dir' && exec env -i PATH=\"$PATH\" HOME=/root LANG=C.UTF-8 SRIOV_LAB=guest"
        " 'TERM=x y' LAB_OUT=/out echo 'a b' '$HOME'\n"
    )


@pytest.mark.parametrize(("text", "size"), [("2G", 2 << 30), ("2700M", 2700 << 20), ("24G", 24 << 30)])
def test_a_size_of_memory_is_read_as_qemu_reads_it(text: str, size: int) -> None:
    assert machine.memory_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2 GB", "'2 GB' is no size; write it as 2G or 2700M"),
        ("2048", "'2048' is no size"),
        ("-2G", "'-2G' is no size"),
        ("512M", "512M is not between 1G and 24G"),
        ("25G", "25G is not between 1G and 24G"),
    ],
)
def test_a_size_that_cannot_work_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        machine.memory_bytes(text)
