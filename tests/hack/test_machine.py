from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from hack.guest import jobs, machine, nics, parts

PARTS = parts.Parts(Path("/cache/root"), "6.12.1-amd64")


def built(**changes: object) -> list[str]:
    facts: dict[str, object] = {
        "memory": "2G", "cpus": 2, "accelerated": False,
        "initrd": Path("/tmp/initrd"), "console": Path("/tmp/console"), "out": None,
    }  # fmt: skip
    return machine.arguments(PARTS, machine.Machine(**{**facts, **changes}), 7, 9)  # type: ignore[arg-type]


def test_both_cards_are_on_one_switch_and_each_behind_its_own_root_port() -> None:
    assert nics.arguments() == [
        "-netdev", "hubport,id=h0,hubid=0",
        "-device", "pcie-root-port,slot=0,id=rp0",
        "-device", "igb,bus=rp0,id=igb0,netdev=h0,mac=52:54:00:00:00:01",
        "-netdev", "hubport,id=h1,hubid=0",
        "-device", "pcie-root-port,slot=1,id=rp1",
        "-device", "igb,bus=rp1,id=igb1,netdev=h1,mac=52:54:00:00:00:02",
    ]  # fmt: skip


def test_qemu_runs_through_the_linker_it_came_with() -> None:
    assert built()[:4] == [
        "/cache/root/lib64/ld-linux-x86-64.so.2",
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
    assert ("-accel", "tcg") in pairwise(built())
    assert ("-accel", "kvm") in pairwise(built(accelerated=True))


def test_the_commands_words_and_environment_reach_the_shell_as_they_are() -> None:
    job = jobs.Job(["echo", "a b", "$HOME"], Path("/a dir"), {"TERM": "x y"}, Path("/out"))
    assert jobs.script(job) == (
        "cd '/a dir' && exec env -i PATH=\"$PATH\" HOME=/root LANG=C.UTF-8 SRIOV_LAB=guest"
        " 'TERM=x y' LAB_OUT=/out echo 'a b' '$HOME'\n"
    )
